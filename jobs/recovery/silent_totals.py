"""How many runs are silent, by what recovery does about them: one statement that weighs the evidence of each run once.

The conditions are those of ``Job.objects.stale()``, ``Job.objects.unknown()`` and ``surroundings.recoverable()``, each of
which answers for single runs and lists. A test holds the totals to them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import BooleanField, Count, ExpressionWrapper, Func, Q, QuerySet

from jobs.models import Job, evidence_of_death, staleness
from jobs.recovery.decision import Policy
from opsconsole.kit import counting


@dataclass(frozen=True, kw_only=True)
class SilentTotals:
    """Numbers of silent runs; those of ``stale`` and ``unknown`` from before the cutoff are counted apart.

    ``at_once``: those stale runs that went silent since the last mass event, from after the cutoff. ``recoverable``: what
    sweeps recover. ``unknown_queue``: stale runs of queues that are not configured.
    ``stale``: the jobs of stale runs if they were asked for, at most one more than counts go to.
    """

    at_once: int
    unknown_queue: int
    unknown: int
    recoverable: int = 0
    before_cutoff: int = 0
    unknown_before_cutoff: int = 0
    stale: frozenset[Any] = frozenset()


def read(policy: Policy, *, with_jobs: bool = False) -> SilentTotals:
    lately = Q(last_seen__gte=policy.forgiven_before) if policy.forgiven_before else Q()
    since = Q(began__gte=policy.cutoff) if policy.cutoff else Q()
    stale = Q(is_stale=True)
    wanted = {"at_once": stale & since & lately, "unknown": ~stale & since, "unknown_queue": stale & since}
    # Without queues there is no such condition: Django would take the whole statement for one without rows.
    if policy.queues:
        known_queue = Q(queue__in=policy.queues)
        wanted["recoverable"] = stale & since & known_queue
        wanted["unknown_queue"] &= ~known_queue
    if policy.cutoff:
        before = Q(began__lt=policy.cutoff)
        wanted |= {"before_cutoff": stale & before, "unknown_before_cutoff": ~stale & before}
    totals: dict[str, Any] = {name: Count("pk", filter=condition) for name, condition in wanted.items()}
    if with_jobs:
        most = f"(%(expressions)s)[1:{counting.COUNTED_TO + 1}]"
        totals["stale"] = Func(ArrayAgg("pk", filter=stale), template=most)
    found = _weighed().aggregate(**totals)
    return SilentTotals(**found | {"stale": frozenset(found.get("stale") or ())})


def _weighed() -> QuerySet[Any, Any]:
    runs = Job.objects.silent_at_any_time().order_by()
    is_stale = ExpressionWrapper(evidence_of_death.is_sufficient(), BooleanField())
    # The limit, which is none, makes PostgreSQL weigh the evidence before it counts, not once per number.
    weighed = runs.annotate(is_stale=is_stale, began=staleness.began())
    return weighed.values("pk", "is_stale", "began", "last_seen", "queue")[: sys.maxsize]
