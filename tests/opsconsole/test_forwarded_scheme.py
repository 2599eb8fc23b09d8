"""The scheme that a proxy tells is believed only from a trusted proxy."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("trusted", "scheme", "secure"),
    [
        (("10.0.0.0/8",), "https", True),
        (("10.0.0.0/8",), "http", False),
        (("192.0.2.0/24",), "https", False),
        ((), "https", False),
    ],
)
def test_scheme_counts_from_a_trusted_proxy_only(
    settings: Any, trusted: tuple[str, ...], scheme: str, secure: bool
) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = trusted
    response = Client().get("/admin/login/", REMOTE_ADDR="10.0.0.3", headers={"X-Forwarded-Proto": scheme})
    assert response.wsgi_request.is_secure() is secure
