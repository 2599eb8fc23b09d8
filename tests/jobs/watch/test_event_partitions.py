"""Tests of the monthly event partitions: no event is lost, and partitions for the next months exist."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from jobs.models import JobEvent
from jobs.recovery import what_if
from jobs.watch import event_partitions, hourly_counts, run_gauges
from tests.factories import job
from tests.racing import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.databases import Database

pytestmark = pytest.mark.django_db

MONTH = timedelta(days=31)
MONTHS = """
SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => ahead), '"job_events_"YYYY_MM')
  FROM generate_series(%s::int, %s::int) AS ahead
"""


def rows(sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall()) if cursor.description else []


def month(ahead: int) -> str:
    """Return the name of the partition for a month, whether or not it exists."""
    return str(rows(MONTHS, [ahead, ahead])[0][0])


def partitions() -> list[str]:
    found = rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'job_events'::regclass ORDER BY 1"
    )
    return [name for (name,) in found]


def event(ahead: timedelta = timedelta(0)) -> str:
    """Create an event this far in the future and return the name of its partition."""
    made = JobEvent.objects.create(job=job(), kind="completed", actor="test", at=Now() + ahead)
    return str(rows("SELECT tableoid::regclass::text FROM job_events WHERE id = %s", [made.pk])[0][0])


def test_migrations_create_same_schema_as_django() -> None:
    """Compare the table with the model: SQL creates the table, because Django cannot create partitions."""
    kinds = dict(
        rows(
            "SELECT attname::text, format_type(atttypid, NULL) || CASE WHEN attnotnull THEN '' ELSE ' null' END"
            " FROM pg_attribute WHERE attrelid = 'job_events'::regclass AND attnum > 0"
        )
    )
    expected = {
        field.column: f"{field.db_type(connection)}{' null' if field.null else ''}"
        for field in JobEvent._meta.local_concrete_fields
    }
    assert kinds == expected
    plain = JobEvent(job_id=job().pk, kind="completed", actor="test")
    plain.save(force_insert=True)
    plain.refresh_from_db()
    assert (plain.reason, plain.details, plain.run_epoch, plain.user_id) == ("", {}, None, None)
    names = {index.name for index in JobEvent._meta.indexes}
    indexes = {name for (name,) in rows("SELECT indexname FROM pg_indexes WHERE tablename = 'job_events'")}
    assert indexes == names | {"job_events_pkey"}


def test_this_month_and_the_next_ones_have_partitions_like_the_table() -> None:
    ahead = event_partitions.MONTHS_AHEAD
    assert partitions() == [*sorted(name for (name,) in rows(MONTHS, [0, ahead])), "job_events_default"]
    described = rows(
        "SELECT conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'p' AND conrelid::regclass::text ~ '^job_events'"
    )
    assert {definition for _, definition in described} == {"PRIMARY KEY (id, at)"}
    assert len(described) == ahead + 3
    for name in partitions():
        # Its primary key besides.
        assert len(rows("SELECT 1 FROM pg_indexes WHERE tablename = %s", [name])) == 1 + len(
            JobEvent._meta.indexes
        )


def test_event_is_in_its_month_or_in_default_partition() -> None:
    assert event() == month(0)
    assert event(-13 * MONTH) == event(13 * MONTH) == "job_events_default"
    assert JobEvent.objects.count() == 3
    assert JobEvent.objects.order_by("-id").first() == JobEvent.objects.get(
        pk=JobEvent.objects.latest("id").pk
    )


@pytest.mark.parametrize("when", [timedelta(0), -13 * MONTH])
@pytest.mark.parametrize("change", ["UPDATE {} SET reason = ''", "DELETE FROM {}"])
def test_events_are_append_only_in_every_partition(when: timedelta, change: str) -> None:
    partition = event(when)
    for table in (partition, "job_events"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            rows(change.format(table))
    assert JobEvent.objects.count() == 1


def test_missing_month_is_created_with_triggers() -> None:
    missing, before = month(event_partitions.MONTHS_AHEAD), partitions()
    rows(f"DROP TABLE {missing}")

    assert event_partitions.create_missing() == f"{missing} created"
    assert event_partitions.create_missing() == "none missing"

    assert partitions() == before
    assert rows("SELECT 1 FROM pg_trigger WHERE tgrelid = %s::regclass", [missing])


def test_month_with_events_in_default_partition_is_reported(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    this, later = month(0), month(event_partitions.MONTHS_AHEAD)
    rows(f"DROP TABLE {this}, {later}")
    assert event() == "job_events_default"

    with caplog.at_level(logging.WARNING):
        assert event_partitions.create_missing() == (
            f"{this} not created (its events lie in job_events_default), {later} created"
        )

    assert f"Events of {this} lie in job_events_default" in caplog.text
    assert event() == "job_events_default"
    # The jobs that completed, and those that arrived.
    assert hourly_counts.count() == 2
    assert JobEvent.objects.count() == 2


def test_foreign_table_with_partition_name_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    missing = month(event_partitions.MONTHS_AHEAD)
    rows(f"DROP TABLE {missing}")
    rows(f"CREATE TABLE {missing} (theirs int)")
    with caplog.at_level(logging.WARNING):
        assert event_partitions.create_missing() == f'not created (relation "{missing}" already exists)'
    assert "Partitions of job_events are not created" in caplog.text
    assert event() == month(0)


@pytest.mark.django_db(transaction=True)
def test_concurrent_creation_of_partitions_succeeds() -> None:
    missing = month(event_partitions.MONTHS_AHEAD)
    rows(f"DROP TABLE {missing}")
    answers = race([event_partitions.create_missing] * 4)
    assert sorted(answers) == [f"{missing} created", *["none missing"] * 3]


def test_creation_does_not_wait_for_reader_of_default_partition(attach: Callable[[str], Database]) -> None:
    theirs = attach("")
    missing = theirs.value(MONTHS, [event_partitions.MONTHS_AHEAD] * 2)
    theirs.sql(f"DROP TABLE {missing}")
    with theirs.connect() as reader:
        reader.autocommit = False
        reader.execute("SELECT FROM job_events_default")
        with theirs.as_default():
            assert (
                event_partitions.create_missing() == "not created (canceling statement due to lock timeout)"
            )
            assert event() == month(0)
    with theirs.as_default():
        assert event_partitions.create_missing() == f"{missing} created"


@pytest.mark.parametrize(
    "question",
    [
        hourly_counts.count,
        lambda: list(run_gauges.taken_in_a_day()),
        lambda: what_if.would_have([timedelta(minutes=10)]),
    ],
)
def test_query_by_time_reads_only_matching_partitions(question: Callable[[], Any]) -> None:
    """Check which partitions appear in the query plan."""
    event()
    old = month(-3)
    rows(f"CREATE TABLE {old} PARTITION OF job_events FOR VALUES FROM ('{dated(-3)}') TO ('{dated(-2)}')")
    with CaptureQueriesContext(connection) as captured:
        question()
    [asked] = [query["sql"] for query in captured.captured_queries if "job_events" in query["sql"]]
    plan = "\n".join(line for (line,) in rows("EXPLAIN " + asked.replace("%", "%%"), []))
    assert month(0) in plan and "Subplans Removed" in plan
    assert old not in plan


def dated(ahead: int) -> str:
    return f"{month(ahead).removeprefix('job_events_').replace('_', '-')}-01 00:00+00"


def test_model_keeps_its_primary_key() -> None:
    assert isinstance(JobEvent._meta.pk, models.BigAutoField) and JobEvent._meta.pk.name == "id"
    assert JobEvent._meta.managed
