"""Indexes that are built online: nobody waits behind a build that waits for a writer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.models import Index, Q

from jobs.models import Job
from opsconsole.kit import mapping, online_indexes, short_locks
from opsconsole.kit.mapping import Jobs, Time
from opsconsole.kit.online_indexes import AddIndexOnline, AddOwnIndexOnline, RemoveIndexOnline
from tests.factories import job
from tests.opsconsole.seals.test_sealer import elsewhere
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind

NAME = "job_events_tried_idx"
STATE: Any = SimpleNamespace(apps=apps)
ADD = AddOwnIndexOnline("jobevent", Index(fields=["at"], name=NAME, condition=Q(kind__in=("fenced",))))


def forwards() -> None:
    with connection.schema_editor(atomic=False) as editor:
        ADD.database_forwards("jobs", editor, STATE, STATE)


def backwards() -> None:
    with connection.schema_editor(atomic=False) as editor:
        ADD.database_backwards("jobs", editor, STATE, STATE)


def is_valid() -> bool | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [NAME])
        row = cursor.fetchone()
    return row[0] if row else None


@pytest.mark.django_db(transaction=True)
def test_index_of_the_timeline_lets_others_pass_while_a_writer_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_locks, "LOCK_TRIES", 1)
    monkeypatch.setattr(short_locks, "LOCK_TIMEOUT_MS", 50)
    of = job()
    with elsewhere() as writer:
        # If something waits for it nevertheless, the test ends.
        writer.execute("SET idle_in_transaction_session_timeout = '20s'")
        writer.commit()
        written = [of.pk, timelines.now(), Kind.COMPLETED, 1, "worker:w-1"]

        writer.execute(timelines.INSERT, written)
        with pytest.raises(CommandError, match="could not be locked"):
            forwards()
        writer.commit()
        assert is_valid() is None

        forwards()
        assert is_valid()

        writer.execute(timelines.INSERT, written)
        with pytest.raises(CommandError, match="could not be locked"):
            backwards()
        writer.commit()
        assert is_valid()

    backwards()
    assert is_valid() is None


SINCE = "opsconsole_jobs_since_idx"
PARTITIONED = """
CREATE TABLE parted (LIKE jobs) PARTITION BY LIST (status);
CREATE TABLE parted_waiting PARTITION OF parted FOR VALUES IN ('pending');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
"""


def indexes_on(*tables: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE relname LIKE %s AND indrelid = ANY (%s::regclass[]) AND indisvalid ORDER BY 1",
            [f"{SINCE}%", list(tables)],
        )
        return [definition.partition(" USING ")[2] for (definition,) in cursor.fetchall()]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("partitioned", [False, True])
def test_index_of_an_expression_is_removed_and_built_again(
    monkeypatch: pytest.MonkeyPatch, *, partitioned: bool
) -> None:
    tables = ("parted", "parted_waiting", "parted_rest") if partitioned else ("jobs",)
    definition = "btree (queue, GREATEST(updated_at, not_before), id) WHERE (status = 'pending'::text)"
    state = MigrationLoader(connection).project_state()
    remove = RemoveIndexOnline("job", SINCE)
    add = AddIndexOnline("job", state.models["jobs", "job"].get_index_by_name(SINCE))
    if partitioned:
        with connection.cursor() as cursor:
            cursor.execute(PARTITIONED)
        monkeypatch.setattr(online_indexes, "_contract_table", lambda _: Jobs("jobs", table="parted"))
    try:
        with connection.schema_editor(atomic=False) as editor:
            add.database_forwards("jobs", editor, state, state)
            assert indexes_on(*tables) == [definition] * len(tables)
            for _ in range(2):
                remove.database_forwards("jobs", editor, state, state)
                assert indexes_on(*tables) == []
            remove.database_backwards("jobs", editor, state, state)
        assert indexes_on(*tables) == [definition] * len(tables)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS parted")


def test_index_of_an_expression_reads_columns_as_queries_do() -> None:
    index = Job._meta.indexes[[each.name for each in Job._meta.indexes].index(SINCE)]
    theirs = Jobs(
        "jobs", columns={"updated_at": "changed"}, times={"updated_at": Time(mapping.EPOCH_SECONDS)}
    )
    absent = Jobs("jobs", absent_columns=frozenset({"updated_at"}))

    assert online_indexes._definition(index, theirs) == (
        '(queue, GREATEST(to_timestamp(nullif("changed", 0)::float8 / 1), not_before), id)'
        " WHERE status = 'pending'"
    )
    assert "GREATEST(coalesce(started_at, created_at), not_before)" in str(
        online_indexes._definition(index, absent)
    )
