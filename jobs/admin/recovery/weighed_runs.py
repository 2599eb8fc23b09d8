"""The stale runs as the Recovery page weighs them: what will happen to each, or that they could not be read in time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from django.db import OperationalError
from psycopg.errors import QueryCanceled

from jobs.admin.recovery.decision_rows import decision_rows
from jobs.recovery import outlook, surroundings
from jobs.recovery.decision import SweepAction
from jobs.recovery.surroundings import Surroundings

# Stale runs that are weighed one by one: to arm recovery, and for the page, which somebody may keep open.
PREVIEWED, WEIGHED = 500, 200
SHOWN = 50


def to_arm(cutoff: datetime | None) -> dict[str, Any]:
    """Return what would happen to the stale runs if somebody armed recovery now with this cutoff."""
    return _of_stale_runs(surroundings.if_armed(surroundings.glance(), cutoff), PREVIEWED, probing=True)


def weighed(around: Surroundings) -> tuple[Surroundings, dict[str, Any]]:
    """Return the surroundings with what the stale runs decide, and what will happen to those runs.

    Where reading them takes too long, the page shows the rest: ``unread``.
    """
    try:
        # Each statement is a transaction of its own: one that was cancelled leaves the session as it was.
        if around.armed:
            around = surroundings.counted(around)
            return around, _of_stale_runs(around, WEIGHED)
        return around, _of_stale_runs(surroundings.if_armed(around, around.policy.cutoff), WEIGHED)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return around, {"unread": True}


def _of_stale_runs(around: Surroundings, most: int, *, probing: bool = False) -> dict[str, Any]:
    """Return what will happen to at most ``most`` stale runs: the counts, and the first ``SHOWN`` one by one."""
    outlooks = outlook.preview(around, most, probing=probing)
    stale = [each for each in outlooks if not each.is_unknown]
    counts = Counter(each.verb for each in stale)
    return {
        "decisions": decision_rows(outlooks[:SHOWN]),
        "hidden": max(0, len(outlooks) - SHOWN),
        "found": len(outlooks),
        "stale": len(stale),
        "unknown": len(outlooks) - len(stale),
        "capped": len(outlooks) == most,
        "requeued": counts[SweepAction.REQUEUE],
        "quarantined": counts[SweepAction.QUARANTINE],
        "skipped": counts[SweepAction.NOTHING],
        "locked": counts[outlook.LOCKED],
        "refused_before": counts[outlook.REFUSED],
        "once_armed": outlook.of_sweeps(around).sentence,
    }
