"""The workers that send heartbeats: one row per worker, and whether they name the epoch of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from jobs.models.columns import column
from jobs.models.worker import OLD_KIND_SEEN_WITHIN
from opsconsole.kit.counting import exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table

MOST_WORKERS = 1_000


def inspect(table: Table, *, attached: bool) -> Iterator[Finding]:
    yield from _key(table)
    beat = column("worker_heartbeats.last_heartbeat")
    if beat in table.columns:
        yield from _old_kind(beat, attached=attached)


def _key(table: Table) -> Iterator[Finding]:
    unique = catalog.rows(
        "SELECT 1 FROM pg_index WHERE indrelid = %s AND indisunique AND indisvalid AND indpred IS NULL"
        " AND indnkeyatts = 1 AND indkey[0] ="
        " (SELECT attnum FROM pg_attribute WHERE attrelid = indrelid AND attname = 'worker_id')",
        [table.oid],
    )
    if not unique:
        yield Finding(
            id="worker-not-unique",
            severity=Severity.WARNING,
            subject="worker_heartbeats.worker_id",
            found="a worker can have several rows; the latest heartbeat for a job counts",
            wanted="one row per worker",
            action="CREATE UNIQUE INDEX CONCURRENTLY worker_heartbeats_one_row ON worker_heartbeats (worker_id);",
        )


def _old_kind(beat: str, *, attached: bool) -> Iterator[Finding]:
    ours = " AND current_run_epoch IS NULL AND NOT metadata ? 'protocol'" if attached else ""
    within = OLD_KIND_SEEN_WITHIN.total_seconds()
    seen = catalog.look(
        f'SELECT count(*) FROM (SELECT 1 FROM worker_heartbeats WHERE "{beat}" > now() - make_interval(secs => {within}){ours}'
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
