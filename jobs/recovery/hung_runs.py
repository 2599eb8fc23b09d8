"""Hung runs: they send heartbeats but do not end. They are shown and alerted, never requeued automatically."""

from __future__ import annotations

from alerts import notify
from alerts.notify import Trouble
from jobs.models import Job, staleness
from jobs.runs.named_jobs import named
from opsconsole.kit import counting
from opsconsole.kit.counting import many
from opsconsole.kit.job_pages import job_links

HUNG_RUNS = "hung-runs"


def watch() -> int:
    """Open or resolve the alert about hung runs; return their number, counted as on the overview."""
    some = Job.objects.running().longest_unchanged().exists()
    count = counting.count(Job.objects.hung()) if some else 0
    if not count:
        notify.clear(HUNG_RUNS)
        return 0
    longest = named(Job.objects.hung().order_by(staleness.deadline(), "pk"))
    notify.fire(
        HUNG_RUNS,
        Trouble(
            title=f"{many(count, 'run')} past the deadline, still sending heartbeats",
            severity="warning",
            summary="Recovery leaves such a run alone, because its worker sends heartbeats. "
            "Read what it has done, then cancel or requeue it by hand.",
            value=count,
            threshold=0,
            link="/admin/jobs/job/?stale=hung",
            facts=(("Past the deadline for longest", "\n".join(longest.values())),),
            links=job_links(longest),
        ),
    )
    return count
