"""The settings of single sign-on in one object, and whether they are complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

NEEDED = ("OPSCONSOLE_OIDC_ISSUER", "OPSCONSOLE_OIDC_CLIENT_ID", "OPSCONSOLE_OIDC_ROLES")


@dataclass(frozen=True)
class Configuration:
    """``roles``: group at the provider to roles here. ``second_factor``: claim to the values that prove a second factor."""

    issuer: str
    client_id: str
    client_secret: str
    name: str
    scopes: tuple[str, ...]
    groups_claim: str
    username_claim: str
    roles: Mapping[str, list[str]]
    second_factor: Mapping[str, list[str]]


def missing() -> list[str]:
    """Return the settings that single sign-on lacks."""
    return [name for name in NEEDED if not getattr(settings, name)]


def is_on() -> bool:
    return not missing()


def current() -> Configuration:
    given: dict[str, Any] = {
        name: getattr(settings, f"OPSCONSOLE_OIDC_{name.upper()}")
        for name in Configuration.__dataclass_fields__
        if name != "scopes"
    }
    # Without the first, it would be plain OAuth, which says nothing of who somebody is.
    return Configuration(**given, scopes=tuple(dict.fromkeys(["openid", *settings.OPSCONSOLE_OIDC_SCOPES])))
