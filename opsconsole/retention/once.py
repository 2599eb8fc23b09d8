"""One run of all that the schedules remove, for the command."""

from __future__ import annotations

from alerts.watch import retention as alert_retention
from jobs.watch import retention as job_retention
from opsconsole.kit import figures, removals
from opsconsole.retention import sizes
from ratelimits.records import recording


def run(by: str) -> dict[str, int]:
    """Remove whatever is due, record it, and return how many rows of each kind."""
    removed = job_retention.prune() | {
        "alerts": alert_retention.prune(),
        "figures": figures.prune(),
        "limited hours": recording.delete_expired_hours(),
    }
    removals.tell(removed, by)
    sizes.sample()
    return removed
