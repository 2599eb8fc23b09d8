"""Enqueueing on a connection of the caller's own, as a part of the caller's transaction (I2)."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from jobs.intake.enqueue import NewJob, refuse_passed, validate
from jobs.models.columns import JOBS, column
from jobs.runs.timeline import CONSOLE, Actor
from opsconsole.kit import own_schema
from opsconsole.kit.storable import json_text

# docs/workers.md has the same statement for producers in other languages.
_ENQUEUE = """
WITH job AS (
    INSERT INTO {jobs} ({columns}) VALUES ({values})
    RETURNING {id}, run_epoch, {queue}, not_before
), told AS (
    INSERT INTO {own}job_events (job_id, run_epoch, kind, actor, user_id)
    SELECT id, run_epoch, 'enqueued', %(actor)s, %(user_id)s FROM job
)
INSERT INTO {own}outbox (job_id, run_epoch, queue, dead_letter_id, available_at)
SELECT id, run_epoch, queue, NULL, coalesce(not_before, statement_timestamp()) FROM job
"""


def enqueue_on(connection: psycopg.Connection[Any], new: NewJob, *, actor: Actor = CONSOLE) -> None:
    """Accept one job on this connection, by one statement. Raise ``InvalidJob`` when it can't be accepted.

    Another statement asks for the time first where the job has a deadline.

    It never commits: in a transaction of the caller's, the job, its event and its message stand or fall with it. With
    autocommit, the statement is a transaction of its own.
    """
    validate(new)
    if new.deadline_at is not None:
        clock = connection.cursor(row_factory=tuple_row).execute("SELECT statement_timestamp()").fetchone()
        refuse_passed([new], *(clock or ()))
    columns = _columns_of(new)
    # Their defaults, if there are any, are those of a timestamptz only in the contract.
    written = {name: f"%({name})s" for name in columns} | JOBS.times_of_new_row()
    names = [f'"{column(f"jobs.{name}")}"' for name in written]
    statement = _ENQUEUE.format(
        jobs=JOBS.sql,
        id=JOBS.returned("id"),
        queue=JOBS.returned("queue"),
        columns=", ".join(names),
        values=", ".join(written.values()),
        # Sessions of other programs rarely have the console's search path.
        own=own_schema.qualifier(connection),
    )
    parameters = columns | {"actor": actor.name, "user_id": actor.user_id}
    # Values as literals, so that they take the types of existing columns, whatever these are.
    psycopg.ClientCursor(connection).execute(statement.encode(), parameters)


def _columns_of(new: NewJob) -> dict[str, Any]:
    """Return what is written into each column of the contract that this database has."""
    columns = {
        "customer_id": new.customer_id,
        "package_size": new.package_size,
        "payload": json_text(new.payload),
        "queue": JOBS.queue_written(new.queue),
        "not_before": new.not_before,
        "deadline_at": new.deadline_at,
    }
    if new.id is not None:
        columns["id"] = new.id
    if JOBS.has_own_words:
        columns["status"] = JOBS.word_for("pending")
    if new.priority is not None:
        columns["priority_level"] = new.priority
    return {name: value for name, value in columns.items() if name not in JOBS.absent_columns}
