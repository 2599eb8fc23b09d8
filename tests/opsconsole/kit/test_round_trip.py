"""Tests of statements in one round trip: their results, their transaction, and the lock that they don't wait for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction

from jobs.models import Job
from opsconsole import timeouts
from opsconsole.kit import round_trip, row_locks
from opsconsole.kit.round_trip import RowLocked
from tests import factories
from tests.other_sessions import other_session

pytestmark = pytest.mark.django_db(transaction=True)


def test_rows_of_each_statement_are_returned() -> None:
    assert round_trip.run("SELECT %(a)s; SET LOCAL work_mem = '4MB'; SELECT 2, '%%'", {"a": 1}) == [
        [(1,)],
        [],
        [(2, "%")],
    ]


def test_time_limit_of_pages_changes_no_result() -> None:
    """Send the limit of a web process in front of the statements, as ``opsconsole.timeouts`` does."""
    connection.ensure_connection()
    connection.execute_wrappers.append(timeouts._limited)
    try:
        limit, isolation = round_trip.run("SHOW statement_timeout; SHOW transaction_isolation", {})
    finally:
        connection.execute_wrappers.remove(timeouts._limited)
    assert (limit, isolation) == ([("15s",)], [("read committed",)])


def test_all_statements_are_one_transaction() -> None:
    job = factories.job()
    with pytest.raises(IntegrityError):
        round_trip.run(
            "UPDATE jobs SET customer_id = 'changed'; UPDATE jobs SET customer_id = NULL WHERE id = %(id)s",
            {"id": job.pk},
        )
    assert Job.objects.get().customer_id == job.customer_id
    assert connection.get_autocommit()


@pytest.mark.parametrize("state", ["40P01", "40001"])
def test_what_the_server_undid_for_another_transaction_is_tried_again(state: str) -> None:
    raising = f"RAISE EXCEPTION 'x' USING ERRCODE = '{state}'"
    fails_once = f"DO $$ BEGIN IF nextval('tries') = 1 THEN {raising}; END IF; END $$;"
    with connection.cursor() as cursor:
        cursor.execute("CREATE SEQUENCE tries")
    try:
        assert round_trip.run(f"{fails_once} SELECT 1", {})[-1] == [(1,)]
        with connection.cursor() as cursor:
            cursor.execute("ALTER SEQUENCE tries RESTART")
        with pytest.raises(OperationalError), transaction.atomic():
            round_trip.run(fails_once, {})
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP SEQUENCE tries")


def test_callers_transaction_is_not_committed() -> None:
    job = factories.job()
    with transaction.atomic():
        round_trip.run("UPDATE jobs SET customer_id = 'changed'", {})
        transaction.set_rollback(True)
    assert Job.objects.get().customer_id == job.customer_id


def test_locked_row_is_not_awaited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_locks, "WAIT", timedelta(milliseconds=100))
    job = factories.job()
    with other_session() as stranger:
        stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [job.pk])
        with pytest.raises(RowLocked):
            round_trip.run("UPDATE jobs SET customer_id = 'changed'", {})
    assert round_trip.run("SHOW lock_timeout", {}) == [[("100ms",)]]
    # The session keeps neither the limit nor a transaction.
    assert round_trip.run("UPDATE jobs SET customer_id = 'changed' RETURNING 1", {}) == [[(1,)]]
