"""Tests of back-channel log-out: what the provider's logout token ends, and tokens that end nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from tests import people
from tests.fakes import identity_provider
from tests.fakes.identity_provider import CLIENT_ID, Provider
from tests.opsconsole.sign_in.oidc.test_sign_in import LOG_IN, _roles, is_in, lines, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("limiter")]
__all__ = ["_roles"]

LOG_OUT = reverse("oidc_log_out")
EVENT = "http://schemas.openid.net/event/backchannel-logout"


def claims(provider: Provider, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": provider.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": str(uuid4())}
    told = usual | {"events": {EVENT: {}}, "sub": "subject-1"} | changes
    return {name: value for name, value in told.items() if value is not None}


def told(
    provider: Provider, sign: Callable[[Provider, dict[str, Any]], str] = Provider.signed, **changes: Any
) -> int:
    """Let the provider send a logout token; return the status of the answer."""
    return sent(sign(provider, claims(provider, **changes)))


def sent(token: str) -> int:
    # The provider is no browser: it has no cookie, and no token against forgery.
    answer = Client(enforce_csrf_checks=True).post(LOG_OUT, {"logout_token": token})
    assert answer.headers["Cache-Control"].find("no-store") >= 0
    return answer.status_code


def browsers(provider: Provider, *sessions: str | None) -> list[Client]:
    found = []
    for name in sessions:
        provider.changes = {"sid": name}
        sign_in(browser := Client(), provider)
        assert is_in(browser)
        found.append(browser)
    return found


def test_all_sessions_of_a_person_end(provider: Provider) -> None:
    one, two = browsers(provider, "s-1", "s-2")
    provider.claims = provider.claims | {
        "sub": "subject-2",
        "preferred_username": "bob",
        "email": "bob@example.com",
    }
    [other] = browsers(provider, "s-3")
    people.viewer()
    local = Client()
    local.post(LOG_IN, {"username": "vera", "password": people.PASSWORD})

    assert told(provider) == 200

    assert [is_in(each) for each in (one, two, other, local)] == [False, False, True, True]
    assert lines()[-1].startswith("The identity provider ended 2 sessions.")


@pytest.mark.parametrize("subject", ["subject-1", None])
def test_session_of_a_name_ends_alone(provider: Provider, subject: str | None) -> None:
    one, two, unnamed = browsers(provider, "s-1", "s-2", None)

    assert told(provider, sid="s-1", sub=subject) == 200

    # Which of the provider's sessions the third belongs to is unknown, so it ends where the person is named.
    assert [is_in(each) for each in (one, two, unnamed)] == [False, True, subject is None]


def test_person_without_a_session_is_no_error(provider: Provider) -> None:
    assert told(provider, sub="nobody") == 200
    assert told(provider, sub=None, sid="s-9") == 200
    assert lines() == []


def test_copy_of_a_token_ends_nothing_again(provider: Provider) -> None:
    token = provider.signed(claims(provider))
    assert sent(token) == 200
    [browser] = browsers(provider, "s-1")

    assert sent(token) == 400
    assert is_in(browser)


def test_token_that_is_no_logout_token_ends_nothing(provider: Provider) -> None:
    [browser] = browsers(provider, "s-1")
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        {"events": None},
        {"events": {}},
        {"events": {EVENT: "x"}},
        {"events": [EVENT]},
        {"nonce": "n"},
        {"jti": None},
        {"iat": None},
        {"exp": None},
        {"exp": now - 300},
        {"iat": now + 300},
        {"iat": now - 3_600, "exp": now + 300},
        {"aud": "another-client"},
        {"iss": "https://evil.example"},
        {"sub": None},
        {"sub": 7},
        {"sub": None, "sid": 7},
        {"sub": "", "sid": ""},
    ]
    assert [(each, told(provider, **each)) for each in wrong] == [(each, 400) for each in wrong]
    for sign in (
        identity_provider.unsigned,
        identity_provider.signed_with_secret,
        identity_provider.signed_with_public_key,
        identity_provider.signed_by_another,
    ):
        assert told(provider, sign) == 400, sign
    # What a browser that signs in brings along.
    assert sent(str(browser.session["oidc_id_token"])) == 400
    assert [sent(token) for token in ("", "x", "a.b.c", "x" * 20_000)] == [400] * 4
    assert is_in(browser)


def test_new_key_of_the_provider_is_found(provider: Provider) -> None:
    [browser] = browsers(provider, "s-1")
    provider.key = 2

    assert told(provider) == 200
    assert not is_in(browser)


def test_tokens_with_unknown_keys_make_few_requests_to_the_provider(provider: Provider) -> None:
    """Nobody who sends them has proved anything."""
    [browser] = browsers(provider, "s-1")
    assert provider.asked.count("/keys") == 1
    forged = [identity_provider.signed_with_unknown_key(provider, claims(provider)) for _ in range(5)]

    # Whether the provider has such a key by now is known for the first one only.
    assert [sent(each) for each in forged] == [400, 503, 503, 503, 503]
    assert provider.asked.count("/keys") == 2

    assert is_in(browser)
    assert told(provider) == 200
    assert not is_in(browser)


def test_provider_that_is_away_is_asked_to_repeat(provider: Provider) -> None:
    from opsconsole.sign_in.oidc import provider as known

    known.forget()
    provider.fails["/.well-known/openid-configuration"] = 500

    answer = Client().post(LOG_OUT, {"logout_token": provider.signed(claims(provider))})

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")


def test_only_where_it_is_set_up_and_only_by_post(provider: Provider, settings: Any) -> None:
    assert Client().get(LOG_OUT).status_code == 405
    settings.OPSCONSOLE_OIDC_ISSUER = None
    assert Client().post(LOG_OUT).status_code == 404
