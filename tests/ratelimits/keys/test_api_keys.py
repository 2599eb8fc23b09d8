"""API keys: shown once, kept nowhere, recognised cheaply, refused at once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import RequestFactory
from django.utils import timezone

from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests.keys import key

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh() -> None:
    api_keys.clear_cache()
    api_keys._cache.last_used.clear()


def authenticate(text: str, header: str = "Authorization", scheme: str = "Bearer ") -> ApiKey | None:
    request = RequestFactory().get("/", headers={header: scheme + text})
    return api_keys.authenticate(request)


def test_a_key_is_recognised_in_either_header() -> None:
    made, text = key()

    assert authenticate(text) == made
    assert authenticate(text, scheme="bearer  ") == made
    assert authenticate(text, "X-API-Key", "") == made
    assert authenticate(text, scheme="Basic ") is None
    assert api_keys.authenticate(RequestFactory().get("/")) is None


def test_the_database_has_a_hash_and_a_hint() -> None:
    made, text = key()

    assert re.fullmatch(r"ock_[A-Za-z0-9]{40}", text)
    assert made.hint == text[-4:]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(api_keys)::text FROM api_keys")
        stored = cursor.fetchone()[0]
    assert text not in stored
    assert text[4:-4] not in stored


def test_two_keys_have_nothing_in_common() -> None:
    first, second = key("a")[1], key("b")[1]

    assert first[4:36] != second[4:36]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ock_",
        "x",
        "ock_" + "a" * 40,
        "ock_" + "é" * 40,
        "ock_" + "a" * 4_000,
        "\x00" * 44,
        "pk_" + "a" * 41,
    ],
)
def test_what_somebody_made_up_costs_no_query(text: str, django_assert_num_queries: Any) -> None:
    key()
    with django_assert_num_queries(0):
        assert authenticate(text) is None


def test_a_changed_key_is_none(django_assert_num_queries: Any) -> None:
    text = key()[1]
    with django_assert_num_queries(0):
        for place in (4, 20, 40):
            other = "a" if text[place] != "a" else "b"
            assert authenticate(text[:place] + other + text[place + 1 :]) is None


def test_a_known_key_costs_no_query(django_assert_num_queries: Any) -> None:
    made, text = key()
    with django_assert_num_queries(1):
        assert authenticate(text) == made
        assert authenticate(text) == made


def test_one_request_asks_once(django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "CACHE_SECONDS", 0)
    request = RequestFactory().get("/", headers={"X-API-Key": key()[1]})
    with django_assert_num_queries(1):
        assert api_keys.authenticate(request) == api_keys.authenticate(request)


def test_a_revoked_key_is_refused_at_once() -> None:
    made, text = key()
    assert authenticate(text) == made

    assert api_keys.revoke(made.pk, by="olga", reason="leaked")
    assert authenticate(text) is None
    assert not api_keys.revoke(made.pk, by="otto", reason="again")

    made.refresh_from_db()
    assert (made.revoked_by, made.revoke_reason) == ("olga", "leaked")


def test_another_process_refuses_it_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    made, text = key()
    clock = 1_000.0
    monkeypatch.setattr("ratelimits.keys.api_keys.time.monotonic", lambda: clock)
    assert authenticate(text) == made
    # As another process does it: nothing of ours hears of it.
    ApiKey.objects.update(revoked_at=Now())
    assert authenticate(text) == made

    clock += 2
    assert authenticate(text) is None


def test_an_expired_key_is_refused() -> None:
    text = key(expires_at=timezone.now() + timedelta(hours=1))[1]
    assert authenticate(text) is not None

    ApiKey.objects.update(expires_at=Now() - timedelta(seconds=1))
    api_keys.clear_cache()
    assert authenticate(text) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_CACHED_KEYS", 2)
    for name in "abcd":
        authenticate(key(name)[1])

    assert len(api_keys._cache.keys) <= 2


def test_a_key_is_made_once() -> None:
    made, _ = key()

    with pytest.raises(api_keys.KeyRefused, match="already created a key"):
        api_keys.create(
            key_id=made.pk, name="other", scopes=[], policy="api-key", expires_at=None, by="o", reason="r"
        )
    with pytest.raises(api_keys.KeyRefused, match="a key named 'shop' exists"):
        key("shop")

    api_keys.revoke(made.pk, by="olga", reason="replaced")
    assert key("shop")


def test_peppers_can_be_changed_while_keys_live(settings: Any) -> None:
    old, new = "o" * 32, "n" * 32
    settings.OPSCONSOLE_API_KEY_PEPPERS = [old]
    of_old = key("old")[1]
    settings.OPSCONSOLE_API_KEY_PEPPERS = [new, old]
    of_new = key("new")[1]
    assert authenticate(of_old) is not None
    assert authenticate(of_new) is not None

    settings.OPSCONSOLE_API_KEY_PEPPERS = [new]
    api_keys.clear_cache()
    assert authenticate(of_old) is None
    assert authenticate(of_new) is not None


def test_the_last_use_is_written_apart_from_requests(django_assert_num_queries: Any) -> None:
    made, text = key()
    authenticate(text)
    made.refresh_from_db()
    assert made.last_used_at is None

    assert api_keys.write_last_used() == 1
    written: Any = ApiKey.objects.get()
    first = written.last_used_at
    assert first is not None
    with django_assert_num_queries(0):
        assert api_keys.write_last_used() == 0

    ApiKey.objects.update(last_used_at=Now() + timedelta(hours=1))
    authenticate(text)
    api_keys.write_last_used()
    later: Any = ApiKey.objects.get()
    assert later.last_used_at > first


def test_with_the_database_away_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = key()[1]

    def away(*_: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(api_keys, "_look_up", away)
    request = RequestFactory().get("/", headers={"X-API-Key": text})

    assert api_keys.authenticate(request) is None
    assert api_keys.lookup_failed(request)
    assert not api_keys.lookup_failed(RequestFactory().get("/"))


def test_an_unknown_id_is_revoked_by_nobody() -> None:
    assert not api_keys.revoke(uuid4(), by="olga", reason="x")
