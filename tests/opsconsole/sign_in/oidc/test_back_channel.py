"""Tests of back-channel log-out: what the provider's logout token ends, and tokens that end nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.sign_in.oidc import begun, pages
from tests import people
from tests.fakes import identity_provider
from tests.fakes.identity_provider import Provider
from tests.opsconsole.sign_in.oidc.logout_tokens import EVENT, claims
from tests.opsconsole.sign_in.oidc.test_sign_in import (
    LOG_IN,
    _roles,
    at_provider,
    is_in,
    lines,
    refused_for,
    said,
    sign_in,
)
from tests.racing import race
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("limiter")]
__all__ = ["_roles"]

LOG_OUT = reverse("oidc_log_out")


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


@pytest.mark.parametrize(
    ("token", "session", "survives"),
    [
        ({}, "s-1", False),
        ({}, None, False),
        ({"sid": "s-1"}, "s-1", False),
        ({"sid": "s-1", "sub": None}, "s-1", False),
        # Which of the provider's sessions it is, is unknown.
        ({"sid": "s-1"}, None, False),
        ({"sid": "s-2"}, "s-1", True),
        ({"sid": "s-1", "sub": None}, None, True),
        ({"sub": "subject-2"}, "s-1", True),
    ],
)
def test_sign_in_that_a_log_out_overtakes_opens_no_session(
    client: Client, provider: Provider, token: dict[str, Any], session: str | None, survives: bool
) -> None:
    provider.changes = {"sid": session}
    back = at_provider(client, provider)
    assert told(provider, **token) == 200

    answer = client.get(back)

    assert (answer.status_code == 302, is_in(client)) == (survives, survives)
    if not survives:
        assert answer.status_code == 403 and "ended while you were signing in" in said(answer)
        assert refused_for() == ["ada (subject-1): the provider ended the session meanwhile"]
        assert "Logged in." not in lines()
        sign_in(client, provider)
        assert is_in(client), "the next sign-in was begun after the log-out"


def test_sign_in_that_an_older_console_began_ends_by_the_latest_log_outs(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun, "AT", "unknown to the console of before")
    back = at_provider(client, provider)
    monkeypatch.undo()
    assert told(provider) == 200

    assert client.get(back).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_log_out_waits_for_a_session_that_is_being_opened(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign-in has found no mark, and the log-out would find no session."""
    back = at_provider(client, provider)
    opening, waits = threading.Event(), threading.Event()
    log_in = pages._log_in

    def slow_log_in(*args: Any) -> None:
        opening.set()
        assert waits.wait(20)
        log_in(*args)

    def log_out() -> int:
        assert opening.wait(20)
        return told(provider)

    def watch() -> None:
        assert opening.wait(20)
        wait_until(_somebody_waits, timeout=10, what="the log-out waits")
        waits.set()

    monkeypatch.setattr(pages, "_log_in", slow_log_in)
    answer, status, _ = race([partial(client.get, back), log_out, watch])

    # 400 where the session ended before the answer was written.
    assert answer.status_code in {302, 400} and status == 200
    assert not is_in(client)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted",
            [AdvisoryLock.PROVIDER_SESSIONS],
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_no_session_survives_a_log_out_at_the_same_moment(provider: Provider) -> None:
    for number in range(10):
        browsing = [Client(), Client()]
        backs = [at_provider(each, provider) for each in browsing]
        provider.changes = {"sid": None if number % 2 else "s-1"}
        ways = [partial(each.get, back) for each, back in zip(browsing, backs, strict=True)]

        *answers, status = race([*ways, partial(told, provider, sid="s-1")])

        assert status == 200
        assert {answer.status_code for answer in answers} <= {302, 400, 403}
        assert [is_in(each) for each in browsing] == [False, False]


def test_strangers_use_up_nothing_of_the_provider(provider: Provider) -> None:
    """They may have its address, behind one and the same proxy; and a provider may end hundreds of sessions at once."""
    [browser] = browsers(provider, "s-1")
    answers = [sent("x") for _ in range(120)]
    assert answers == [400] * 100 + [429] * 20

    assert [told(provider, sub="nobody") for _ in range(120)] == [200] * 120
    assert told(provider) == 200
    assert not is_in(browser)


def test_log_out_waits_for_nobody_who_waits_for_the_provider(provider: Provider) -> None:
    from opsconsole.sign_in.oidc import provider as known

    [browser] = browsers(provider, "s-1")
    with ExitStack() as stack:
        for _ in range(known.MOST_AT_ONCE):
            stack.enter_context(known.place())
        assert told(provider) == 200
    assert not is_in(browser)
