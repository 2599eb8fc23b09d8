"""Tests of parallel connections: each is used once, none blocks the others, and an error in one is raised."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from jobs.recovery.parallel_connections import Lanes

pytestmark = pytest.mark.django_db(transaction=True)


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    return pid


def test_each_lane_uses_its_own_connection() -> None:
    met = threading.Barrier(3, timeout=10)
    backends: set[int] = set()

    def work() -> None:
        met.wait()
        backends.add(backend())

    with Lanes(3) as opened:
        opened.open(work)
        opened.open(work)
        work()
    assert len(backends) == 3


def test_no_lane_starts_unasked() -> None:
    with Lanes(3):
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


def test_no_other_lanes_inside_transaction() -> None:
    with transaction.atomic(), Lanes(2) as opened:
        opened.open(lambda: pytest.fail("It would not see what the caller wrote."))


def test_error_of_another_lane_is_raised() -> None:
    def fail() -> None:
        raise ValueError("of the other lane")

    with pytest.raises(ValueError, match="of the other lane"), Lanes(2) as opened:
        opened.open(fail)


def test_error_of_caller_takes_precedence_over_error_of_lane() -> None:
    def fail() -> None:
        raise ValueError("of the other lane")

    with pytest.raises(LookupError, match="of the caller"), Lanes(2) as opened:
        opened.open(fail)
        raise LookupError("of the caller")


def test_lane_that_cannot_connect_is_skipped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: DatabaseWrapper) -> None:
        raise OperationalError("sorry, too many clients already")

    monkeypatch.setattr(DatabaseWrapper, "ensure_connection", refused)
    with Lanes(2) as opened:
        opened.open(lambda: pytest.fail("It has no connection."))
    monkeypatch.undo()
    assert "too many clients" in caplog.text
