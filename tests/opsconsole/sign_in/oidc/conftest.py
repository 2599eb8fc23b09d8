"""A provider on loopback, and the console that is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import identity_provider
from tests.fakes.identity_provider import CLIENT_ID, CLIENT_SECRET, Provider

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

ROLES = {
    "console-viewers": ["Viewer"],
    "console-operators": ["Operator"],
    "console-admins": ["Administrator"],
    "console-ghosts": ["No such role"],
}


@pytest.fixture(scope="module")
def served() -> Iterator[Provider]:
    with identity_provider.serve() as provider:
        yield provider


@pytest.fixture
def provider(served: Provider, settings: Settings) -> Iterator[Provider]:
    """Return a provider that is as new, and that the console knows."""
    from opsconsole.sign_in.oidc import provider as known

    served.__dict__.update(Provider(served.issuer).__dict__)
    set_up(settings, served)
    known.forget()
    yield served
    served.closing.set()
    known.forget()


def set_up(settings: Any, provider: Provider) -> None:
    settings.OPSCONSOLE_OIDC_ISSUER = provider.issuer
    settings.OPSCONSOLE_OIDC_CLIENT_ID = CLIENT_ID
    settings.OPSCONSOLE_OIDC_CLIENT_SECRET = CLIENT_SECRET
    settings.OPSCONSOLE_OIDC_NAME = "Acme login"
    settings.OPSCONSOLE_OIDC_ROLES = ROLES
    settings.OPSCONSOLE_OIDC_SECOND_FACTOR = {"amr": ["mfa"], "acr": ["gold"]}
