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


def test_who_the_proxy_names_is_in() -> None:
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
def test_the_peer_decides(peer: str, status: int) -> None:
    assert get(peer=peer) == status


def test_a_claim_to_come_through_the_proxy_is_no_proof() -> None:
    assert get(peer=MALLORY, hops=PROXY) == 302


def test_a_unix_socket_is_trusted_by_its_word(settings: Any) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("unix",)

    assert get(peer="") == 200
    assert get(peer=PROXY) == 302


@pytest.mark.parametrize("name", [None, "", "nobody", " "])
def test_without_a_known_name_nobody_is_in_and_nobody_is_made(name: str | None) -> None:
    assert get(name) == 302
    assert User.objects.count() == 1


def test_who_is_switched_off_stays_out() -> None:
    User.objects.update(is_active=False)

    assert get() == 302


def test_who_is_no_staff_sees_no_console() -> None:
    User.objects.create_user("walter")

    assert get("walter") == 302


def test_the_session_ends_with_the_header() -> None:
    client = Client()
    assert get(client=client) == 200
    assert get(None, client=client) == 302
    assert get(client=client) == 200
    # A stolen cookie is of no use past the proxy, not even with the header.
    assert get(client=client, peer=MALLORY) == 302


def test_a_session_of_a_password_goes_on_without_it() -> None:
    client = Client()
    client.post(reverse("admin:login"), {"username": "olga", "password": people.PASSWORD}, REMOTE_ADDR=PROXY)

    assert get(None, client=client) == 200


def test_another_name_is_another_session() -> None:
    people.viewer()
    client = Client()
    get(client=client)
    get("vera", client=client)

    assert client.session["_auth_user_id"] == str(User.objects.get(username="vera").pk)


def test_off_by_default_the_header_is_nothing(settings: Any) -> None:
    settings.OPSCONSOLE_SIGN_IN_HEADER = ""

    assert get() == 302
    assert check_sign_in_header(None) == []


def test_a_header_with_no_proxy_to_believe_is_refused(settings: Any) -> None:
    assert check_sign_in_header(None) == []
    settings.OPSCONSOLE_TRUSTED_PROXIES = ()

    assert [found.id for found in check_sign_in_header(None)] == ["opsconsole.E008"]


def test_unknown_names_lock_out_nobody_else() -> None:
    for _ in range(6):
        get("nobody")

    assert get() == 200
