"""Tests of enqueueing inside a caller's transaction: nothing is committed, and a rollback takes everything along (I2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from jobs.intake.enqueue import InvalidJob, NewJob, enqueue, enqueue_many
from jobs.intake.enqueue_elsewhere import enqueue_on
from jobs.models import Job, JobEvent, Outbox
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from tests.other_sessions import OtherSession, other_session

pytestmark = pytest.mark.django_db(transaction=True)


class Rollback(Exception):
    pass


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/000000000000/jobs", None)}


@pytest.fixture
def theirs() -> Iterator[OtherSession]:
    """Yield a connection of the caller's own, with a table of the caller's own."""
    with other_session() as session:
        session.execute("CREATE TEMPORARY TABLE orders (id int)")
        session.commit()
        yield session


def new(**fields: Any) -> NewJob:
    least: dict[str, Any] = {"customer_id": "TEST-001", "package_size": 50}
    return NewJob(**least | fields)


def rows() -> list[int]:
    """Count the jobs, events and messages that are committed, on a third connection."""
    with other_session() as session:
        tables = ("jobs", "job_events", "outbox")
        return [
            session.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()[0][0] for table in tables
        ]


@pytest.mark.parametrize("add", [enqueue, lambda job: enqueue_many([job])])
def test_rollback_of_djangos_atomic_takes_the_job_along(add: Callable[[NewJob], object]) -> None:
    with pytest.raises(Rollback), transaction.atomic():
        add(new())
        assert Job.objects.count() == JobEvent.objects.count() == Outbox.objects.count() == 1
        assert rows() == [0, 0, 0]
        raise Rollback
    assert rows() == [0, 0, 0]


def test_django_without_autocommit_commits_nothing() -> None:
    connection.set_autocommit(False)
    try:
        enqueue(new())
        assert rows() == [0, 0, 0]
        connection.rollback()
        enqueue(new())
        connection.commit()
    finally:
        connection.set_autocommit(True)
    assert rows() == [1, 1, 1]


@pytest.mark.parametrize("commits", [True, False])
def test_callers_connection_decides(theirs: OtherSession, commits: bool) -> None:
    theirs.execute("INSERT INTO orders VALUES (1)")
    enqueue_on(theirs, new(payload={"site": "café"}), actor=Actor("producer:shop"))
    assert theirs.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    assert rows() == [0, 0, 0]
    if commits:
        theirs.commit()
    else:
        theirs.rollback()
    assert rows() == [commits, commits, commits]
    assert theirs.execute("SELECT count(*) FROM orders").fetchall() == [(int(commits),)]


def test_row_event_and_message_are_those_of_enqueue(theirs: OtherSession) -> None:
    ours, same = new(priority="gold", payload={"a": 1}), new(payload={"a": 1})
    enqueue(ours, actor=Actor("shop"))
    enqueue_on(theirs, new(id=same.id, priority="gold", payload={"a": 1}), actor=Actor("shop"))
    theirs.commit()
    moments = {"id", "created_at", "updated_at", "at", "available_at", "job_id"}
    tables: list[Iterable[Mapping[str, Any]]] = [
        Job.objects.filter(pk__in=[ours.id, same.id]).values(),
        JobEvent.objects.values(),
        Outbox.objects.values(),
    ]
    for rows_of in tables:
        first, second = ({name: row[name] for name in row if name not in moments} for row in rows_of)
        assert first == second


def test_default_priority_is_the_databases(theirs: OtherSession) -> None:
    enqueue_on(theirs, new())
    theirs.commit()
    assert Job.objects.get().priority_level == "starter"


def test_invalid_job_leaves_the_callers_transaction_usable(theirs: OtherSession) -> None:
    theirs.execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(InvalidJob):
        enqueue_on(theirs, new(package_size=0))
    theirs.commit()
    assert theirs.execute("SELECT count(*) FROM orders").fetchall() == [(1,)]


def test_passed_deadline_is_refused_and_a_later_one_kept(theirs: OtherSession) -> None:
    with pytest.raises(InvalidJob, match="deadline_at must lie in the future: 2020-01-01"):
        enqueue_on(theirs, new(deadline_at=datetime(2020, 1, 1, tzinfo=UTC)))
    deadline = datetime(2098, 1, 1, tzinfo=UTC)
    enqueue_on(theirs, new(deadline_at=deadline))
    theirs.commit()
    assert Job.objects.get().deadline_at == deadline
