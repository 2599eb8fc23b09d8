"""Pages of a sweep whose connection broke: which of their runs were taken before, because only the answer was lost (I14)."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.models import JobEvent
from jobs.recovery.decision import SweepAction
from jobs.recovery.stale_pages import StaleRun
from jobs.recovery.totals import Totals
from jobs.runs.timeline import SWEEP

_ACTIONS = {
    str(JobEvent.Kind.RECOVERED): SweepAction.REQUEUE,
    str(JobEvent.Kind.QUARANTINED): SweepAction.QUARANTINE,
}


def taken(runs: Sequence[StaleRun]) -> tuple[Totals, list[StaleRun]]:
    """Return (the totals of the runs that were taken, the other runs), by what the timeline says of these runs.

    They had been locked and were stale, so a sweep that took them since is this one.
    """
    events = JobEvent.objects.filter(
        job_id__in=[run.pk for run in runs], kind__in=list(_ACTIONS), actor=SWEEP.name
    )
    kinds = {
        (job_id, epoch): kind for job_id, epoch, kind in events.values_list("job_id", "run_epoch", "kind")
    }
    totals, left = Totals(), []
    for run in runs:
        if kind := kinds.get((run.pk, run.run_epoch)):
            totals.take(_ACTIONS[kind], 1)
        else:
            left.append(run)
    return totals, left
