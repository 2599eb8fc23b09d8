"""The changes to a job's row when it is restarted: one list for querysets and for handwritten statements."""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Case, DateTimeField, ExpressionWrapper, F, Q, When
from django.db.models.functions import Now

from jobs.models import Status
from jobs.models.columns import JOBS
from jobs.models.job import JobQuerySet
from opsconsole.kit.postgresql.timestamps import far

# The columns that belong to the previous run.
CLEARED = ("claimed_epoch", "worker_id", "started_at", "completed_at", "not_before")


# A deadline of the job's own gives the new run as much time as the last one had, from now on. Without a start of the last
# run, a deadline that has passed is dropped, and the configured time counts. Before version 17, PostgreSQL refuses to
# subtract infinite times.
_NEW_DEADLINE = (
    "CASE WHEN {job}.deadline_at > {started} AND isfinite({job}.deadline_at) AND isfinite({started})"
    " THEN statement_timestamp() + ({job}.deadline_at - {started})"
    " WHEN {job}.deadline_at > statement_timestamp() THEN {job}.deadline_at END"
)


def _new_deadline() -> Case:
    """Return the same as an expression."""
    as_long = ExpressionWrapper(Now() + (F("deadline_at") - F("started_at")), DateTimeField())
    return Case(
        When(
            Q(deadline_at__gt=F("started_at")) & ~far("deadline_at") & ~far("started_at"),
            then=as_long,
        ),
        When(deadline_at__gt=Now(), then=F("deadline_at")),
        output_field=DateTimeField(),
    )


def restart(jobs: JobQuerySet, **changes: Any) -> int:
    """Make these jobs wait for a new run. The epoch rises, so that anything the old run still reports is refused."""
    cleared = dict.fromkeys(CLEARED)
    anew = {
        "status": Status.PENDING,
        "run_epoch": F("run_epoch") + 1,
        "updated_at": Now(),
        "deadline_at": _new_deadline(),
    }
    # Once the rows wait, nothing but their ids finds them again.
    ids = list(jobs.values_list("pk", flat=True)) if JOBS.cleared_of_theirs else []
    restarted = jobs.update(**cleared | anew | changes)
    if restarted and ids:
        _clear_theirs(ids)
    return restarted


def _clear_theirs(ids: list[Any]) -> None:
    """Clear what the run left in columns that are none of the contract. A job that was claimed meanwhile is left alone."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {JOBS.sql} SET {_cleared_of_theirs()} WHERE {JOBS.sql_column('id')} = ANY (%s)"
            f" AND {JOBS.is_status(Status.PENDING)} AND worker_id IS NULL",
            [ids],
        )


def _cleared_of_theirs() -> str:
    return ", ".join(f"{column} = {value}" for column, value in JOBS.cleared_of_theirs.items())


def restart_in_statement(job: str, **changes: str) -> str:
    """Return the same changes as SQL for the SET clause of a statement in which ``job`` names the row."""
    cleared = dict.fromkeys(CLEARED, "NULL")
    anew = {
        "status": JOBS.status_written(Status.PENDING),
        "run_epoch": f"{job}.run_epoch + 1",
        "updated_at": "statement_timestamp()",
        "deadline_at": new_deadline_in_statement(job),
    }
    return ", ".join(filter(None, [JOBS.assignments(**cleared | anew | changes), _cleared_of_theirs()]))


def new_deadline_in_statement(job: str) -> str:
    """Return the deadline of the new run as SQL."""
    return _NEW_DEADLINE.format(job=job, started=JOBS.read("started_at", job))
