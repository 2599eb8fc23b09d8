"""The background thread and the pending counts: writing, outages and forks."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import DataError, OperationalError

from ratelimits.models import LimiterTrouble, RateLimitRequest
from ratelimits.records import background_thread, recording
from ratelimits.records.pending_counts import CountKey, PendingCounts

MINUTE = 60


@pytest.fixture(autouse=True)
def _nothing_pending() -> None:
    recording.discard()


def note(count: int = 1, key: str = "address:a", outcome: str = "allowed") -> None:
    for _ in range(count):
        recording.note("standard", key, "/x", "GET", outcome)


@pytest.mark.django_db
def test_requests_of_a_minute_share_one_row(
    django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = PendingCounts(clock=lambda: 1_800_000_000)
    monkeypatch.setattr(recording, "_pending", minute)
    note(3)
    note(2, outcome="limited")
    with django_assert_num_queries(1):
        assert recording.flush() == 2
    note(4)
    recording.flush()
    assert sum(row.hits for row in RateLimitRequest.objects.filter(outcome="allowed")) == 7
    assert RateLimitRequest.objects.filter(outcome="allowed").count() == 1
    assert RateLimitRequest.objects.limited().requests() == 2
    assert recording.flush() == 0


@pytest.mark.django_db
def test_two_processes_add_to_the_same_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        monkeypatch.setattr(recording, "_pending", PendingCounts(clock=lambda: 1_800_000_000))
        note(5)
        recording.flush()
    assert RateLimitRequest.objects.get().hits == 10


def test_counts_survive_a_database_outage_for_as_long_as_records_are_kept() -> None:
    now = [1_800_000_000.0]
    pending = PendingCounts(clock=lambda: now[0], max_counts=3)
    pending.add("p", "old", "/", "GET", "allowed")
    now[0] += 50 * MINUTE
    pending.add("p", "new", "/", "GET", "allowed")
    pending.put_back(pending.take())
    assert {entry.key for entry in pending._hits} == {"old", "new"}
    now[0] += 20 * MINUTE
    pending.put_back(pending.take())
    assert {entry.key for entry in pending.take()} == {"new"}


@pytest.mark.parametrize("error", [OperationalError, KeyboardInterrupt])
def test_counts_that_could_not_be_written_wait(monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def fail(_: object) -> None:
        raise error

    note(3)
    with monkeypatch.context() as patch:
        patch.setattr(recording, "_write", fail)
        with pytest.raises(error):
            recording.flush()
    assert sum(recording._pending.take().values()) == 3


def test_rows_that_the_database_refuses_are_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise DataError("invalid")

    note()
    monkeypatch.setattr(recording, "_write", refuse)
    assert recording.flush() == 0
    assert "are lost" in caplog.text
    assert len(recording._pending) == 0


@pytest.mark.django_db
def test_texts_are_cut_to_what_the_database_accepts() -> None:
    recording.note("standard", "a\0b", "/" + "x" * 5_000, "GET", "allowed")
    recording.flush()
    row = RateLimitRequest.objects.get()
    assert (row.key, len(row.endpoint)) == ("ab", recording.LONGEST_TEXT)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_process_starts_without_counts_and_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent writes its own counts; the child starts its own thread."""
    note(3)
    monkeypatch.setattr(background_thread, "_running", object())
    child = os.fork()
    if child == 0:
        clean = len(recording._pending) == 0 and background_thread._running is None
        os._exit(0 if clean else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sum(recording._pending.take().values()) == 3


@pytest.mark.django_db(transaction=True)
def test_thread_writes_the_records_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_thread, "INTERVAL_SECONDS", 0.01)
    running = background_thread.LimiterThread()
    note(5)
    running.stop()
    assert RateLimitRequest.objects.requests() == 5
    assert not running._thread.is_alive()
    assert not LimiterTrouble.objects.exists()


def test_counts_beyond_the_maximum_share_one_row() -> None:
    pending = PendingCounts(clock=lambda: 0.0, max_counts=2)
    for key in "abcd":
        pending.add("p", key, f"/{key}", "GET", "limited")
    other = CountKey(0, "p", "(other)", "(other)", "(other)", "limited")
    assert pending.take()[other] == 2
