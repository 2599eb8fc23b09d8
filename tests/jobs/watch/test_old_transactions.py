"""Tests of what keeps dead rows from being removed: it is named with its age and the SQL that ends it, or told as unknown."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from alerts.models import Alert
from jobs.inspection import Finding, server
from jobs.models import RecoveryControl, Sweep
from jobs.watch import gauges, message_gauges, old_transactions
from jobs.watch.old_transactions import Obstacle
from opsconsole.verification import running_work
from opsconsole.verification.check import Verdict, Wishes
from tests.factories import job, letter
from tests.other_sessions import OtherSession, other_session
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("rules_without_delay")]

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
GID = 'a transaction\'s "name"'
SLOT = f"slot_{os.getpid()}"


def sql(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


def sweep_ago(ago: timedelta) -> None:
    Sweep.objects.create(trigger="test", mode=Sweep.Mode.OBSERVE, started_at=Now() - ago)


@pytest.fixture
def _dead_rows() -> None:
    """Leave more dead rows in the outbox than do no harm, and let them count at once."""
    row = letter(job())
    with transaction.atomic():
        for number in range(old_transactions.HARMLESS_DEAD_ROWS + 100):
            sql(f"UPDATE outbox SET last_error = '{number}' WHERE id = {row.pk}")
    sql("SELECT pg_stat_force_next_flush()")


@contextmanager
def old_snapshot() -> Iterator[tuple[OtherSession, int]]:
    """Let another session hold a snapshot that no later change may touch; return it with its pid."""
    with other_session() as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = other.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        yield other, row[0]


def aged(obstacle: Obstacle, age: timedelta) -> Obstacle:
    """Return the obstacle as if it had been there for this long."""
    assert obstacle.holder
    return replace(obstacle, holder=replace(obstacle.holder, since=obstacle.holder.now - age))


def inspected() -> list[Finding]:
    return [finding for finding in server.inspect_transactions() if finding.id == "old-transaction"]


@pytest.mark.usefixtures("_dead_rows")
def test_old_session_is_told_everywhere_with_the_statement_that_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with old_snapshot() as (_, pid):
        sweep_ago(MINUTE)  # It takes a transaction id, and so the snapshot is older than something.
        obstacle = old_transactions.present()
        assert obstacle.holder and obstacle.holder.who.startswith(f"session {pid} of role ")
        assert obstacle.holder.ending == f"SELECT pg_terminate_backend({pid});" and obstacle.does_harm
        # Young ones are everyday's work.
        assert inspected() == [] and running_work.dead_rows_are_removed(Wishes()).verdict == Verdict.OK
        assert message_gauges.old_transaction().value == 0

        old = aged(obstacle, 16 * MINUTE)
        monkeypatch.setattr(old_transactions, "present", lambda: old)
        [finding] = inspected()
        assert "for at least 16 min" in finding.found and finding.action == obstacle.holder.ending
        RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
        verdict = running_work.dead_rows_are_removed(Wishes())
        assert verdict.verdict == Verdict.WRONG and obstacle.holder.ending in verdict.action
        gauges.watch()
        alert = Alert.objects.open().get(fingerprint="old_transaction")
        assert (alert.value, alert.threshold) == (16, 15)
        assert ["To end it", obstacle.holder.ending] in alert.facts

        monkeypatch.setattr(old_transactions, "present", lambda: aged(obstacle, 15 * MINUTE))
        gauges.watch()
        assert not Alert.objects.open().filter(fingerprint="old_transaction").exists()


def test_age_is_that_of_what_is_held_and_not_of_a_long_transaction_with_short_statements() -> None:
    sweep_ago(3 * HOUR)
    sweep_ago(2 * HOUR)
    [(before,)] = sql("SELECT pg_current_xact_id()::xid::text")
    sweep_ago(HOUR)
    [(now,)] = sql("SELECT statement_timestamp()")
    with connection.cursor() as cursor:
        held = old_transactions._since(cursor, now - 5 * HOUR, before)
        assert held and HOUR - MINUTE < now - held < HOUR + MINUTE
        # Its start says more where it came later.
        assert old_transactions._since(cursor, now - 30 * MINUTE, before) == now - 30 * MINUTE
        # Nothing is known of what is older than all sweeps, such as after a restore.
        Sweep.objects.all().delete()
        sweep_ago(HOUR)
        assert old_transactions._since(cursor, None, before) is None


@pytest.mark.usefixtures("_dead_rows")
def test_prepared_transaction_is_named_and_ends_by_the_statement() -> None:
    quoted = GID.replace("'", "''")
    with other_session() as other:
        other.execute("SELECT pg_current_xact_id()")
        other.execute(f"PREPARE TRANSACTION '{quoted}'")
    sweep_ago(MINUTE)
    holder = old_transactions.present().holder
    assert holder and holder.who.startswith(f"the prepared transaction '{GID}' of role ") and holder.since
    rollback = holder.ending.partition(" or ")[2].partition(";")[0]

    sql(rollback)

    assert sql("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()") == [(0,)]


@pytest.mark.usefixtures("_dead_rows")
def test_standby_with_feedback_and_its_forgotten_slot_are_found() -> None:
    [(xid,)] = sql("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    sweep_ago(MINUTE)
    described = connection.settings_dict
    standby = psycopg.pq.PGconn.connect(
        f"host={described['HOST']} user={described['USER']} replication=true application_name=standby-1".encode()
    )
    try:
        standby.exec_(f"CREATE_REPLICATION_SLOT {SLOT} PHYSICAL RESERVE_WAL".encode())
        [(start,)] = sql(f"SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '{SLOT}'")
        answer = standby.exec_(f"START_REPLICATION SLOT {SLOT} PHYSICAL {start}".encode())
        assert answer.status == ExecStatus.COPY_BOTH
        # What a standby with hot_standby_feedback sends: the oldest transaction that its queries see.
        feedback = b"h" + struct.pack("!qIIII", 0, xid % 2**32, xid >> 32, 0, 0)
        wait_until(lambda: _feeds_back(standby, feedback))
        holder = old_transactions.present().holder
        assert holder and holder.who == f"the replication slot '{SLOT}' (active)"
        assert "hot_standby_feedback = off" in holder.ending
        standby.finish()
        wait_until(_is_inactive)
        forgotten = old_transactions.present().holder
        assert forgotten and forgotten.who == f"the replication slot '{SLOT}'"
        sql(forgotten.ending.partition(";")[0])
        assert not sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{SLOT}'")
    finally:
        standby.finish()
        wait_until(_is_inactive)
        sql(
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
        )


def _is_inactive() -> bool:
    return not sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND active")


def _feeds_back(standby: PGconn, feedback: bytes) -> bool:
    """Read what the server has sent, and send the feedback again; tell whether the slot holds it."""
    standby.consume_input()
    while standby.get_copy_data(1)[0] > 0:
        pass
    standby.put_copy_data(feedback)
    standby.flush()
    return bool(sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND xmin IS NOT NULL"))


@pytest.mark.usefixtures("_dead_rows")
def test_without_the_right_to_see_ages_the_value_is_unknown_and_never_fine() -> None:
    role = f"blind_{os.getpid()}"
    sql(
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public, opsconsole TO {role}; GRANT SELECT ON sweeps TO {role}"
    )
    try:
        with old_snapshot() as (_, pid):
            sweep_ago(MINUTE)
            sql(f"SET ROLE {role}")
            obstacle = old_transactions.present()
            assert obstacle.holder and obstacle.holder.name == str(pid) and obstacle.age is None
            [finding] = inspected()
            assert "for an unknown time" in finding.found and "pg_read_all_stats" in finding.action
            assert running_work.dead_rows_are_removed(Wishes()).verdict == Verdict.UNKNOWN
            sql("RESET ROLE")
            reading = message_gauges.old_transaction_reading(obstacle)
            assert reading.value is None and "pg_read_all_stats" in reading.why_unknown
            sql(f"GRANT pg_read_all_stats TO {role}")
            sql(f"SET ROLE {role}")
            assert old_transactions.present().age is not None
    finally:
        sql("RESET ROLE")
        sql(f"DROP OWNED BY {role}; DROP ROLE {role}")
