"""Tests of the cache: it holds JSON, and an entry that it did not write is a miss and never runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import cache, caches

from opsconsole.kit import store_marks
from opsconsole.kit.json_cache import JSONCache
from tests.traps import pickled

KEY = "opsconsole:1:{}"


@pytest.fixture
def store() -> redis.Redis:
    return redis.Redis.from_url(os.environ["CACHE_URL"])


@pytest.mark.parametrize(
    "value", [0, 7, -1, True, None, "text", "7", 1.5, ["a", 1], {"a": {"b": None}}, "ü\0"]
)
def test_values_are_kept_as_json(store: redis.Redis, value: Any) -> None:
    cache.set("value", value)
    stored = store.get(KEY.format("value"))
    assert isinstance(stored, bytes)
    assert b"\x80" not in stored
    assert cache.get("value", "default") == value
    assert type(cache.get("value")) is type(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float("nan")])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        cache.set("value", value)


def test_store_can_count_with_integers() -> None:
    cache.set("number", 3)
    assert cache.incr("number", 4) == 7
    assert cache.get("number") == 7


def test_foreign_entries_are_misses_and_do_not_run(store: redis.Redis, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    pickle.loads(pickled(trace)).close()
    assert trace.exists(), "the trap works where something unpickles it"
    trace.unlink()
    forged: dict[str, bytes] = {
        "pickle": pickled(trace),
        "old_pickle": pickle.dumps({"a": 1}),
        "cut": b'{"a": ',
        "deep": b"[" * 100_000,
        "digits": b"9" * 10_000,
        "not_text": b"\xff\xfe",
        "empty": b"",
    }
    for name, entry in forged.items():
        store.set(KEY.format(name), entry)
    store.delete(KEY.format("list"))
    store.lpush(KEY.format("list"), pickled(trace))
    for name in (*forged, "list"):
        assert cache.get(name, "default") == "default", name
    cache.set("ours", 1)
    assert cache.get_many([*forged, "list", "ours", "absent"]) == {"ours": 1}
    assert not trace.exists()
    cache.set("list", "replaced")
    assert cache.get("list") == "replaced"


def test_forged_mark_is_unknown(store: redis.Redis, tmp_path: Path) -> None:
    store_marks.write("name", {"fence": 1})
    assert store_marks.read("name") == {"fence": 1}
    signed = store.get(KEY.format("mark:name"))
    assert isinstance(signed, bytes)
    for entry in (
        pickled(tmp_path / "trace"),
        b"[1]",
        b'"text"',
        b"7",
        b'{"fence": 2000000000}',
        b"null",
        signed[:-2] + b'"',
    ):
        store.set(KEY.format("mark:name"), entry)
        assert store_marks.read("name") is None
    store.set(KEY.format("mark:another"), signed)
    assert store_marks.read("another") is None, "a mark counts under its own name only"
    assert not (tmp_path / "trace").exists()


def test_this_is_the_cache_of_the_console() -> None:
    assert isinstance(caches["default"], JSONCache)
