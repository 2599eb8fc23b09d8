"""One run of all that the schedules remove, for the command."""

from __future__ import annotations

from alerts.watch import retention as alert_retention
from jobs.watch import retention as job_retention
from jobs.watch.batched_deletes import KeptRows
from opsconsole.kit import figures, removals
from opsconsole.retention import audit_lines, month_drop, sizes
from opsconsole.retention.month_drop import Result
from ratelimits.records import recording


def run(by: str, kept_rows: KeptRows) -> tuple[dict[str, int], list[Result]]:
    """Remove whatever is due and record it; return how many rows of each kind, and what became of months that were due.

    ``kept_rows`` is told what the database refused to delete.
    """
    removed = job_retention.prune(kept_rows) | {
        "alerts": alert_retention.prune(),
        "figures": figures.prune(),
        "limited hours": recording.delete_expired_hours(),
    }
    removals.tell(removed, by)
    removed[audit_lines.SUBJECT] = audit_lines.delete(by).rows
    sizes.sample()
    return removed, list(month_drop.drop_due(by))
