"""How many runs are silent, by what recovery does about them: one statement that weighs the evidence of each run once.

The conditions are those of ``Job.objects.stale()``, ``Job.objects.unknown()`` and ``surroundings.recoverable()``, each of
which answers for single runs and lists. A test holds the totals to them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper

from jobs.models import Job, evidence_of_death, staleness
from jobs.recovery.decision import Policy
from opsconsole.kit import counting
from opsconsole.kit.built_once import built_once


@dataclass(frozen=True, kw_only=True)
class SilentTotals:
    """Numbers of silent runs; those of ``stale`` and ``unknown`` from before the cutoff are counted apart.

    ``at_once``: those stale runs that went silent since the last mass event, from after the cutoff. ``recoverable``: what
    sweeps recover. ``unknown_queue``: stale runs of queues that are not configured. ``by_hand``: those of queues whose runs
    are left to operators.
    ``stale``: the jobs of stale runs if they were asked for, at most one more than counts go to.
    """

    at_once: int
    unknown_queue: int
    by_hand: int
    unknown: int
    recoverable: int = 0
    before_cutoff: int = 0
    unknown_before_cutoff: int = 0
    stale: frozenset[Any] = frozenset()


# Each run is weighed once: the limit, which is none, lets PostgreSQL do that before it counts.
_TOTALS = """
SELECT count(*) FILTER (WHERE is_stale AND is_since AND (forgiven_before IS NULL OR last_seen >= forgiven_before)),
       count(*) FILTER (WHERE is_stale AND is_since AND queue <> ALL (queues)),
       count(*) FILTER (WHERE is_stale AND is_since AND queue = ANY (queues) AND queue = ANY (by_hand)),
       count(*) FILTER (WHERE NOT is_stale AND is_since),
       count(*) FILTER (WHERE is_stale AND is_since AND queue = ANY (queues) AND queue <> ALL (by_hand)),
       count(*) FILTER (WHERE is_stale AND began < cutoff),
       count(*) FILTER (WHERE NOT is_stale AND began < cutoff),
       (array_agg(job_id) FILTER (WHERE is_stale AND most_named > 0))[1:max(most_named)]
  FROM (SELECT *, cutoff IS NULL OR began >= cutoff AS is_since
          FROM ({weighed}) AS run (job_id, is_stale, began, last_seen, queue),
               (SELECT %s::timestamptz, %s::timestamptz, %s::text[], %s::text[], %s::int)
                   AS policy (cutoff, forgiven_before, queues, by_hand, most_named)) AS weighed
"""


def read(policy: Policy, *, with_jobs: bool = False) -> SilentTotals:
    weighed, params = _weighed()
    most_named = counting.COUNTED_TO + 1 if with_jobs else 0
    asked = (policy.cutoff, policy.forgiven_before, list(policy.queues), list(policy.by_hand), most_named)
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS.format(weighed=weighed), [*params, *asked])
        [numbers] = cursor.fetchall()
    at_once, unknown_queue, by_hand, unknown, recoverable, before_cutoff, unknown_before_cutoff, stale = (
        numbers
    )
    return SilentTotals(
        at_once=at_once,
        unknown_queue=unknown_queue,
        by_hand=by_hand,
        unknown=unknown,
        recoverable=recoverable,
        before_cutoff=before_cutoff,
        unknown_before_cutoff=unknown_before_cutoff,
        stale=frozenset(stale or ()),
    )


@built_once
def _weighed() -> tuple[str, tuple[Any, ...]]:
    """Return the query of the silent runs, and its parameters."""
    runs = Job.objects.silent_at_any_time().order_by()
    is_stale = ExpressionWrapper(evidence_of_death.is_sufficient(), BooleanField())
    weighed = runs.annotate(is_stale=is_stale, began=staleness.began())
    return weighed.values_list("pk", "is_stale", "began", "last_seen", "queue")[
        : sys.maxsize
    ].query.sql_with_params()
