"""Tests of sign-in by proxy header: from trusted proxies only, and for existing users only."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from opsconsole.checks import check_sign_in_header
from tests import people

pytestmark = pytest.mark.django_db

JOBS = reverse("admin:jobs_job_changelist")
PROXY, MALLORY = "10.0.0.3", "203.0.113.7"


@pytest.fixture(autouse=True)
def _header(settings: Any) -> None:
    settings.OPSCONSOLE_SIGN_IN_HEADER = "X-Forwarded-User"
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("10.0.0.0/8",)
    people.operator()


def get(name: str | None = "olga", *, peer: str = PROXY, client: Client | None = None, hops: str = "") -> int:
    named = {"X-Forwarded-User": name} if name is not None else {}
    return (
        (client or Client())
        .get(JOBS, REMOTE_ADDR=peer, headers=named | {"X-Forwarded-For": hops})
        .status_code
    )


def test_user_named_by_proxy_is_signed_in() -> None:
    assert get() == 200


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("::ffff:10.0.0.3", 200),
        ("::ffff:203.0.113.7", 302),
        (MALLORY, 302),
        ("2001:db8::1", 302),
        ("", 302),
    ],
)
def test_only_peer_address_is_trusted(peer: str, status: int) -> None:
    assert get(peer=peer) == status


def test_forwarded_headers_do_not_prove_the_proxy() -> None:
    assert get(peer=MALLORY, hops=PROXY) == 302


def test_unix_socket_is_trusted_when_configured(settings: Any) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("unix",)

    assert get(peer="") == 200
    assert get(peer=PROXY) == 302


@pytest.mark.parametrize("name", [None, "", "nobody", " "])
def test_unknown_name_neither_signs_in_nor_creates_user(name: str | None) -> None:
    assert get(name) == 302
    assert User.objects.count() == 1


def test_inactive_user_is_not_signed_in() -> None:
    User.objects.update(is_active=False)

    assert get() == 302


def test_user_without_staff_status_sees_no_console() -> None:
    User.objects.create_user("walter")

    assert get("walter") == 302


def test_session_ends_with_the_header() -> None:
    client = Client()
    assert get(client=client) == 200
    assert get(None, client=client) == 302
    assert get(client=client) == 200
    # A stolen cookie does not work when the proxy is bypassed, not even with the header.
    assert get(client=client, peer=MALLORY) == 302


def test_password_session_continues_without_header() -> None:
    client = Client()
    client.post(reverse("admin:login"), {"username": "olga", "password": people.PASSWORD}, REMOTE_ADDR=PROXY)

    assert get(None, client=client) == 200


def test_other_name_starts_other_session() -> None:
    people.viewer()
    client = Client()
    get(client=client)
    get("vera", client=client)

    assert client.session["_auth_user_id"] == str(User.objects.get(username="vera").pk)


def test_header_is_ignored_by_default(settings: Any) -> None:
    settings.OPSCONSOLE_SIGN_IN_HEADER = ""

    assert get() == 302
    assert check_sign_in_header(None) == []


def test_header_without_trusted_proxies_is_refused(settings: Any) -> None:
    assert check_sign_in_header(None) == []
    settings.OPSCONSOLE_TRUSTED_PROXIES = ()

    assert [found.id for found in check_sign_in_header(None)] == ["opsconsole.E008"]


def test_unknown_names_do_not_lock_out_others() -> None:
    for _ in range(6):
        get("nobody")

    assert get() == 200
