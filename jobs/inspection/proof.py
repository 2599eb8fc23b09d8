"""The proof that the console fits: its own statements on a real row, all of them undone.

The catalogue can't tell what a trigger does with a row. So the statements of a claim, a completion, a failure, a recovery
and a quarantine run on a job that nobody else has locked, with all constraints immediate, in a transaction that is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import cast
from uuid import uuid4

from django.db import Error, connection, transaction

from jobs.inspection import catalog, trigger_reach
from jobs.inspection.contract import TEXT
from jobs.inspection.finding import Finding, Severity
from jobs.intake.enqueue import InvalidJob, NewJob, row_of, store
from jobs.models import Job, Status, WorkerHeartbeat
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.recovery import rescue
from jobs.recovery.decision import Decision, SweepAction, Why
from jobs.runs.evidence import RecoverableRun
from opsconsole.kit import own_schema, round_trip, row_locks
from opsconsole.kit.errors import first_line
from opsconsole_worker import refusals
from opsconsole_worker.runs import beat_statements, lifecycle, statements
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Failure, Run
from opsconsole_worker.runs.restart import restart_in_statement

NAME = "opsconsole-inspection"
ASK = "--yes-run-triggers"
_TRIED_ROWS = 20
HEARTBEAT = "heartbeat"


@dataclass(frozen=True)
class Step:
    """One change that is tried on the claimed run: what it is called, and the status that the row has afterwards."""

    name: str
    status: Status
    change: Callable[[Run], bool]


def prove(*, run_triggers: bool = False) -> list[Finding]:
    """Return what the statements ran into. ``run_triggers``: also where triggers might act outside the transaction."""
    reaching = (
        [] if run_triggers else trigger_reach.reaching_outside([JOBS.sql, HEARTBEATS.sql], own_schema.name())
    )
    if reaching:
        return [
            Finding(
                id="not-proved",
                severity=Severity.WARNING,
                subject="jobs",
                found="the console's statements were not tried on a row, because "
                f"{'; '.join(reaching)}: what it does outside might not be undone",
                action=f"If that is harmless: python manage.py inspect_database {ASK}",
            )
        ]
    with transaction.atomic():
        findings = list(_tried())
        transaction.set_rollback(True)
    return findings


def _tried() -> Iterator[Finding]:
    row_locks.limit_transaction(timedelta(seconds=1), statement_timeout="5s")
    job = _free_row()
    if job is None:
        yield Finding(
            id="not-proved",
            severity=Severity.INFO,
            subject="jobs",
            found="the console's statements were not tried, because there is no job that nobody has locked",
            action="Run inspect_database again when there are jobs.",
        )
        return
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    refused = _try("requeue", job, lambda: _requeue(job), Status.PENDING)
    if not refused:
        run = Run(job.pk, job.run_epoch + 1, _worker())
        refused = _try("claim", job, lambda: _claim(run), Status.IN_PROGRESS)
        if not refused:
            refused = [finding for step in _STEPS for finding in _undone(step, job, run)]
    yield from _creation()
    yield from refused or [
        Finding(
            id="proved",
            severity=Severity.OK,
            subject="jobs",
            found="requeue, claim, complete, fail, recovery and quarantine were run on a job, and undone",
        )
    ]


def _creation() -> Iterator[Finding]:
    """Try to create a job, as the API and the page do. Without that, only programs of others create jobs."""
    new = NewJob(customer_id=_a_customer(), package_size=1)
    try:
        with transaction.atomic():
            store([row_of(new)])
            transaction.set_rollback(True)
    except (Error, InvalidJob) as error:
        refusal = refusals.of(error)
        if refusal is not None and refusal.conflicts:
            return  # Another customer may have room.
        why = (
            first_line(error)
            if isinstance(error, Error)
            else "it was not given back, as by a trigger that returns NULL"
        )
        yield Finding(
            id="refused-create",
            severity=Severity.WARNING,
            subject="jobs",
            found=f"a new job was tried and undone: {why}. Only your own programs can create jobs",
            wanted="a table into which the console can insert a job",
            action="Nothing, if only your programs create jobs. Otherwise change the constraint, trigger or default that is named.",
        )


def _a_customer() -> str:
    """Return a customer that the table has, because it may refer to another table."""
    column = JOBS.read("customer_id")
    found = catalog.look(f"SELECT {column}::text FROM {JOBS.sql} WHERE {column} IS NOT NULL LIMIT 1")
    if found:
        return str(found[0][0])
    table = catalog.table(JOBS.sql)
    present = table.columns.get(JOBS.column("customer_id")) if table else None
    return str(uuid4()) if present is not None and present.type == "uuid" else "1"


def _free_row() -> Job | None:
    """Lock one job that nobody else has locked: no program waits for more than these few statements."""
    newest = Job.objects.only("id", "run_epoch").order_by("-created_at")[:_TRIED_ROWS]
    keys = [job.pk for job in newest]
    return row_locks.locked_if_free(Job.objects.only("id", "run_epoch").filter(pk__in=keys)).first()


def _worker() -> Worker:
    """Return who claims the job here. Where ids of workers are no texts, that is one that has a row, or a new one."""
    table = catalog.table(HEARTBEATS.sql)
    named = table.columns.get(HEARTBEATS.column("worker_id")) if table else None
    if named is None or named.type in TEXT:
        return Worker(NAME)
    known = WorkerHeartbeat.objects.values_list("pk", flat=True).first()
    return Worker(known or (str(uuid4()) if named.type == "uuid" else "0"))


def _undone(step: Step, job: Job, run: Run) -> list[Finding]:
    with transaction.atomic():
        findings = _try(step.name, job, lambda: step.change(run), step.status)
        transaction.set_rollback(True)
    return findings


def _try(name: str, job: Job, change: Callable[[], bool], status: Status) -> list[Finding]:
    """Run one change; return a finding if the database refused it, ignored it or made something else of it."""
    if JOBS.written(status) is None:
        return []
    try:
        with transaction.atomic():
            changed = change()
            [(word,)] = catalog.rows(
                f"SELECT {JOBS.sql_column('status')}::text FROM {JOBS.sql} WHERE {JOBS.sql_column('id')} = %s",
                [job.pk],
            )
    except Error as error:
        return [_refused(name, f"the database refuses it: {first_line(error)}")]
    if not changed:
        return [_refused(name, "no row was changed, as by a trigger that returns NULL")]
    if word != JOBS.written(status):
        return [_refused(name, f"afterwards the status is {word!r}, not {JOBS.written(status)!r}")]
    return []


def _refused(name: str, why: str) -> Finding:
    return Finding(
        id=f"refused-{name.replace(' ', '-')}",
        severity=Severity.BLOCKER,
        subject="worker_heartbeats" if name == HEARTBEAT else "jobs",
        found=f"{name} was tried on a job and undone: {why}",
        wanted="a row that the console can change",
        action="Change the constraint, trigger or privilege that is named, and run inspect_database again.",
    )


def _requeue(job: Job) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {JOBS.sql} AS job SET {restart_in_statement('job')} WHERE {JOBS.sql_column('id', 'job')} = %s",
            [job.pk],
        )
        return bool(cursor.rowcount == 1)


def _claim(run: Run) -> bool:
    """Run the statement of a claim itself: what follows a refused one is for workers."""
    asked = {"redriven": False, "asked_before": False}
    won, _ = round_trip.run(statements.CLAIM, run.parameters | asked)
    return bool(won)


def _decision(run: Run, action: SweepAction) -> Decision:
    """Return what a sweep decides of a run that has been silent: no heartbeat is late enough to save this one."""
    now = catalog.value("SELECT statement_timestamp()")
    job = Job.objects.only("id", "run_epoch", "worker_id").get(pk=run.job_id)
    vars(job).update(stale_before=now + timedelta(days=1), death_proven=False)
    return Decision(
        cast("RecoverableRun", job),
        action,
        Why.STALE,
        None,
        "Tried by inspect_database.",
        now,
        timedelta(0),
        counted=True,
    )


def _heartbeat(run: Run) -> bool:
    """Run the statement of a heartbeat, and return whether the worker's row was written."""
    [[(*_, written)]] = round_trip.run(beat_statements.BEAT, run.parameters)
    return bool(written)


_STEPS = (
    Step(HEARTBEAT, Status.IN_PROGRESS, _heartbeat),
    Step("complete", Status.COMPLETED, lifecycle.complete),
    Step("fail", Status.FAILED, lambda run: lifecycle.fail(run, "Tried.", retryable=False) is Failure.FAILED),
    Step("recovery", Status.PENDING, lambda run: not rescue.requeue([_decision(run, SweepAction.REQUEUE)])),
    Step(
        "quarantine",
        Status.QUARANTINED,
        lambda run: not rescue.quarantine([_decision(run, SweepAction.QUARANTINE)]),
    ),
)
