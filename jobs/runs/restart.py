"""The restart of jobs by querysets; ``opsconsole_worker.runs.restart`` has the same changes for handwritten statements."""
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
from opsconsole_worker.runs.restart import CLEARED, cleared_of_theirs


def _new_deadline() -> Case:
    """Return the deadline of the new run (``opsconsole_worker.runs.restart``) as an expression."""
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
    """Make these jobs wait for a new run. The epoch rises, so that anything an old run of the protocol still reports is refused."""
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
            f"UPDATE {JOBS.sql} SET {cleared_of_theirs()} WHERE {JOBS.sql_column('id')} = ANY (%s)"
            f" AND {JOBS.is_status(Status.PENDING)} AND worker_id IS NULL",
            [ids],
        )
