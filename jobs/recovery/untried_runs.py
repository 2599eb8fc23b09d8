"""Alerts about runs that sweeps can't recover, while sweeps recover nothing: nobody tries whether they still can't.

Such an alert ends once none of its runs is stale any more. Until then it says that it can't be judged.
"""

from __future__ import annotations

from uuid import UUID

from alerts import notify
from jobs.models import Job, Sweep
from jobs.recovery import passed_over, refused_runs
from jobs.recovery.surroundings import Stop

_WHY = {
    Stop.OBSERVING: "Recovery only observes",
    Stop.PAUSED: "Recovery is paused",
    Stop.HELD: "Recovery is held",
}


def watch(stop: Stop) -> None:
    """Resolve the alerts whose runs are no longer stale, and note in the others why they can't be judged."""
    fired = notify.open_among([passed_over.LOCKED_RUNS, refused_runs.REFUSED_RUNS])
    if not fired:
        return
    acted = Sweep.objects.acted().last_finished()
    runs = {
        passed_over.LOCKED_RUNS: passed_over.remembered(acted),
        refused_runs.REFUSED_RUNS: refused_runs.remembered(acted),
    }
    for fingerprint in fired:
        if _any_stale(runs[fingerprint]):
            notify.unknown(fingerprint, why=f"{_WHY[stop]}, so no sweep tries to recover these runs")
        else:
            notify.clear(fingerprint)


def _any_stale(job_ids: list[UUID] | None) -> bool:
    """Tell whether any of these runs is stale; None: some are not remembered, so that any stale run may be one."""
    stale = Job.objects.stale()
    return (stale if job_ids is None else stale.filter(pk__in=job_ids)).exists()
