"""API keys: storage, authentication, caching and revocation."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import RequestFactory
from django.utils import timezone

from ratelimits.identity import caller
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from tests.keys import key

pytestmark = pytest.mark.django_db


def authenticate(text: str, header: str = "Authorization", scheme: str = "Bearer ") -> ApiKey | None:
    request = RequestFactory().get("/", headers={header: scheme + text})
    return api_keys.authenticate(request)


def test_key_is_accepted_in_either_header() -> None:
    api_key, text = key()

    assert authenticate(text) == api_key
    assert authenticate(text, scheme="bearer  ") == api_key
    assert authenticate(text, "X-API-Key", "") == api_key
    assert authenticate(text, scheme="Basic ") is None
    assert api_keys.authenticate(RequestFactory().get("/")) is None


def test_database_stores_only_a_hash_and_a_hint() -> None:
    api_key, text = key()

    assert re.fullmatch(r"ock_[A-Za-z0-9]{40}", text)
    assert api_key.hint == text[-4:]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(api_keys)::text FROM api_keys")
        stored = cursor.fetchone()[0]
    assert text not in stored
    assert text[4:-4] not in stored


def test_keys_are_random() -> None:
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
def test_made_up_key_needs_no_query(text: str, django_assert_num_queries: Any) -> None:
    key()
    with django_assert_num_queries(0):
        assert authenticate(text) is None


def test_altered_key_is_rejected_without_a_query(django_assert_num_queries: Any) -> None:
    text = key()[1]
    with django_assert_num_queries(0):
        for place in (4, 20, 40):
            other = "a" if text[place] != "a" else "b"
            assert authenticate(text[:place] + other + text[place + 1 :]) is None


def test_key_is_cached(django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    at = time.monotonic()
    monkeypatch.setattr(api_keys, "time", SimpleNamespace(monotonic=lambda: at))
    api_key, text = key()
    with django_assert_num_queries(1):
        assert authenticate(text) == api_key
        assert authenticate(text) == api_key


def test_key_is_looked_up_once_per_request(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "CACHE_SECONDS", 0)
    request = RequestFactory().get("/", headers={"X-API-Key": key()[1]})
    with django_assert_num_queries(1):
        assert api_keys.authenticate(request) == api_keys.authenticate(request)


def test_revoked_key_is_refused_at_once() -> None:
    api_key, text = key()
    assert authenticate(text) == api_key

    assert api_keys.revoke(api_key.pk, by="olga", reason="leaked")
    assert authenticate(text) is None
    assert not api_keys.revoke(api_key.pk, by="otto", reason="again")

    api_key.refresh_from_db()
    assert (api_key.revoked_by, api_key.revoke_reason) == ("olga", "leaked")


def test_other_processes_refuse_a_revoked_key_within_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    api_key, text = key()
    clock = 1_000.0
    monkeypatch.setattr(api_keys, "time", SimpleNamespace(monotonic=lambda: clock))
    assert authenticate(text) == api_key
    # As another process does it, without clearing this process's cache.
    ApiKey.objects.update(revoked_at=Now())
    assert authenticate(text) == api_key

    clock += 2
    assert authenticate(text) is None


def test_expired_key_is_refused() -> None:
    text = key(expires_at=timezone.now() + timedelta(hours=1))[1]
    assert authenticate(text) is not None

    ApiKey.objects.update(expires_at=Now() - timedelta(seconds=1))
    api_keys.clear_cache()
    assert authenticate(text) is None


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_CACHED_KEYS", 2)
    for name in "abcd":
        authenticate(key(name)[1])

    assert len(api_keys._cache.keys) <= 2


def test_key_id_and_name_are_used_once() -> None:
    api_key, _ = key()

    with pytest.raises(api_keys.KeyRefused, match="already created a key"):
        api_keys.create(
            key_id=api_key.pk, name="other", scopes=[], policy="api-key", expires_at=None, by="o", reason="r"
        )
    with pytest.raises(api_keys.KeyRefused, match="a key named 'shop' exists"):
        key("shop")

    api_keys.revoke(api_key.pk, by="olga", reason="replaced")
    assert key("shop")


def test_peppers_can_be_changed_without_new_keys(settings: Any) -> None:
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


def test_last_use_is_written_outside_of_requests(django_assert_num_queries: Any) -> None:
    api_key, text = key()
    authenticate(text)
    api_key.refresh_from_db()
    assert api_key.last_used_at is None

    assert api_keys.write_last_used() == 1
    written = ApiKey.objects.get()
    first = written.last_used_at
    assert first is not None
    with django_assert_num_queries(0):
        assert api_keys.write_last_used() == 0

    ApiKey.objects.update(last_used_at=Now() + timedelta(hours=1))
    authenticate(text)
    api_keys.write_last_used()
    later = ApiKey.objects.get()
    assert later.last_used_at and later.last_used_at > first


def test_lookup_fails_while_the_database_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    text = key()[1]

    def away(*_: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr(api_keys, "_look_up", away)
    request = RequestFactory().get("/", headers={"X-API-Key": text})

    assert api_keys.authenticate(request) is None
    assert api_keys.lookup_failed(request)
    assert not api_keys.lookup_failed(RequestFactory().get("/"))


@pytest.mark.parametrize("known", [True, False], ids=["known", "never looked up"])
def test_key_counts_as_itself_while_the_database_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Otherwise all clients behind one address would share its quota for a moment."""
    (first, text), (_, other) = key("a"), key("b")
    requests = [
        RequestFactory().get("/", headers={"Authorization": f"Bearer {each}"})
        for each in (text, text, other, f"{api_keys.PREFIX}{'x' * 40}")
    ]
    api_keys.clear_cache()
    if known:
        assert authenticate(text) == first
    later = time.monotonic() + 3_600
    monkeypatch.setattr(time, "monotonic", lambda: later)

    def fail(*_: Any, **__: Any) -> Any:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(ApiKey.objects, "valid", fail)
    address = ip_address("192.0.2.1")
    identities = [caller.identify(request, "default", address) for request in requests]

    assert identities[0] == identities[1]
    assert [identity.kind for identity in identities] == ["api_key"] * 3 + ["address"]
    assert len({identity.value for identity in identities}) == 3
    assert (identities[0].value == f"key:{first.pk}") == known
    assert all(api_keys.authenticate(request) is None for request in requests)


def test_revoking_an_unknown_key_returns_false() -> None:
    assert not api_keys.revoke(uuid4(), by="olga", reason="x")
