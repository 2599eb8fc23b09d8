"""Tests of parallel connections: each is used once, none blocks the others, and an error in one is raised."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from jobs.recovery.parallel_connections import in_parallel

pytestmark = pytest.mark.django_db(transaction=True)


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    return pid


def in_the_caller() -> bool:
    return threading.current_thread() is threading.main_thread()


def test_each_thread_uses_its_own_connection() -> None:
    met = threading.Barrier(3, timeout=10)
    backends: set[int] = set()

    def work() -> None:
        met.wait()
        backends.add(backend())

    in_parallel(work, 3)
    assert len(backends) == 3


@pytest.mark.parametrize("within", [False, True])
def test_caller_works_alone_on_one_connection_and_inside_a_transaction(within: bool) -> None:
    calls: list[bool] = []
    if within:
        with transaction.atomic():
            in_parallel(lambda: calls.append(in_the_caller()), 2)
    else:
        in_parallel(lambda: calls.append(in_the_caller()), 1)
    assert calls == [True]


def test_error_of_another_thread_is_raised() -> None:
    def work() -> None:
        if not in_the_caller():
            raise ValueError("of the other thread")

    with pytest.raises(ValueError, match="of the other thread"):
        in_parallel(work, 2)


def test_error_of_the_caller_takes_precedence() -> None:
    def work() -> None:
        raise LookupError("of the caller") if in_the_caller() else ValueError("of the other thread")

    with pytest.raises(LookupError, match="of the caller"):
        in_parallel(work, 2)


def test_thread_that_cannot_connect_leaves_the_work_to_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(_: DatabaseWrapper) -> None:
        raise OperationalError("sorry, too many clients already")

    monkeypatch.setattr(DatabaseWrapper, "ensure_connection", refused)
    calls: list[bool] = []
    in_parallel(lambda: calls.append(in_the_caller()), 2)
    monkeypatch.undo()
    assert calls == [True]
    assert "too many clients" in caplog.text
