"""The workers that send heartbeats: one row per worker, and whether they name the epoch of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from jobs.models.columns import HEARTBEATS, JOBS, column
from jobs.models.worker import OLD_KIND_SEEN_WITHIN
from jobs.models.worker_observation import NAMED_SHARE
from jobs.runs import worker_kinds
from opsconsole.kit import mapping
from opsconsole.kit.counting import exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table

MOST_WORKERS = 1_000

_JOB, _BEAT = HEARTBEATS.sql_column("current_job_id"), HEARTBEATS.read("last_heartbeat")


def inspect(table: Table, *, attached: bool) -> Iterator[Finding]:
    yield from _key(table)
    beat = column("worker_heartbeats.last_heartbeat")
    if beat in table.columns:
        ours = attached and {"current_run_epoch", "metadata"} <= table.columns.keys()
        yield from _old_kind(attached=ours)
    names_jobs = JOBS.life.told_by == mapping.BEATS
    if names_jobs and {column("worker_heartbeats.current_job_id"), beat} <= table.columns.keys():
        yield from _naming(attached=attached)
    if _may_read(JOBS.sql, HEARTBEATS.sql, "worker_observations"):
        yield from _seen()


def _may_read(*tables: str) -> bool:
    """Tell whether these tables are there, and the role may read them: what it may not is a finding already."""
    readable = (
        "SELECT bool_and(coalesce(has_table_privilege(to_regclass(name)::oid, 'SELECT'), false))"
        " FROM unnest(%s::text[]) AS name"
    )
    return bool(catalog.value(readable, [list(tables)]))


def _naming(*, attached: bool) -> Iterator[Finding]:
    """Find workers that send heartbeats without naming the running jobs; not judged while no worker does."""
    jobs = catalog.table(JOBS.sql)
    if jobs is None or not {JOBS.column("id"), JOBS.column("status")} <= jobs.columns.keys():
        return
    ours = attached and {"claimed_epoch", "run_epoch"} <= jobs.columns.keys()
    foreign = " AND claimed_epoch IS DISTINCT FROM run_epoch" if ours else ""
    within = OLD_KIND_SEEN_WITHIN.total_seconds()
    seen = catalog.look(
        f"SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM {HEARTBEATS.sql} AS beat"
        f" WHERE beat.{_JOB}::text = running.id::text)) FROM (SELECT {JOBS.returned('id')} FROM {JOBS.sql}"
        f" WHERE {JOBS.is_status('in_progress')}{foreign}"
        f" LIMIT {MOST_WORKERS}) AS running"
        f" WHERE EXISTS (SELECT FROM {HEARTBEATS.sql} WHERE {_BEAT} > now() - make_interval(secs => {within}))"
    )
    running, named = seen[0] if seen else (0, 0)
    if running and named < running * NAMED_SHARE:
        yield Finding(
            id="workers-do-not-name-their-jobs",
            severity=Severity.WARNING,
            subject="worker_heartbeats.current_job_id",
            found=f"heartbeats name {named:,} of {exactly(running, 'running job')} that the console's protocol did not claim: "
            "whether the others are alive is unknown once they are silent, and they are not recovered automatically",
            wanted="each heartbeat names its job, one row per worker slot",
            action="Write current_job_id with each heartbeat. Or choose a rule, for example: "
            'python manage.py recovery_mode unknown-runs --rule after --hours 6 --reason "..."',
        )


def _seen() -> Iterator[Finding]:
    """Report what the console saw since it was attached."""
    for trait in worker_kinds.traits():
        # Those were measured just now.
        if trait.id != "workers-do-not-name-their-jobs":
            yield Finding(
                id=trait.id,
                severity=Severity.WARNING if trait.advice else Severity.INFO,
                subject=trait.subject,
                found=trait.sentence.rstrip("."),
                action=trait.advice,
            )


def _key(table: Table) -> Iterator[Finding]:
    unique = catalog.rows(
        "SELECT 1 FROM pg_index WHERE indrelid = %s AND indisunique AND indisvalid AND indpred IS NULL"
        " AND indnkeyatts = 1 AND indkey[0] ="
        " (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = %s)",
        [table.oid, HEARTBEATS.column("worker_id")],
    )
    if not unique:
        yield Finding(
            id="worker-not-unique",
            severity=Severity.WARNING,
            subject="worker_heartbeats.worker_id",
            found="a worker can have several rows; the latest heartbeat for a job counts",
            wanted="one row per worker",
            action="CREATE UNIQUE INDEX CONCURRENTLY worker_heartbeats_one_row"
            f" ON {HEARTBEATS.sql} ({HEARTBEATS.sql_column('worker_id')});",
        )


def _old_kind(*, attached: bool) -> Iterator[Finding]:
    ours = " AND current_run_epoch IS NULL AND NOT metadata ? 'protocol'" if attached else ""
    within = OLD_KIND_SEEN_WITHIN.total_seconds()
    seen = catalog.look(
        f"SELECT count(*) FROM (SELECT 1 FROM {HEARTBEATS.sql} WHERE {_BEAT} > now() - make_interval(secs => {within}){ours}"
        f" LIMIT {MOST_WORKERS}) AS beating"
    )
    if seen and seen[0][0]:
        yield Finding(
            id="workers-without-epochs",
            severity=Severity.INFO,
            subject="worker_heartbeats",
            found=f"{exactly(seen[0][0], 'worker')} sent heartbeats without an epoch in the last day: their jobs run at least "
            "once, without fencing or cancellation",
            action="Nothing. They keep working; their runs are recovered after the queue's visibility timeout at the earliest.",
        )
