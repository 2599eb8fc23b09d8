"""django-q2's broker in PostgreSQL, with an additional private queue per cluster.

Clusters share one queue, so a finished task proves that some cluster works, never which one. The probe of a
cluster goes to its private queue, which no other cluster reads. That queue is served first, so that a backlog
of tasks does not look like a stalled cluster.
"""

from __future__ import annotations

import os
from typing import Any

from django.utils import timezone
from django_q.brokers.orm import ORM
from django_q.models import OrmQ

CLUSTER_ID = "SUPERVISED_CLUSTER_ID"


def private_queue(cluster_id: str) -> str:
    return f"probe:{cluster_id}"


class ProbedBroker(ORM):  # type: ignore[misc]  # django-q2 has no types
    def dequeue(self) -> Any:
        """Return up to ``bulk`` tasks as (id, payload), or None after an idle pause when there are none."""
        return self._take_probe() or super().dequeue()

    def _take_probe(self) -> list[tuple[int, str]]:
        cluster_id = os.environ.get(CLUSTER_ID)
        if not cluster_id:
            return []
        waiting = OrmQ.objects.filter(key=private_queue(cluster_id), lock__lt=timezone.now())
        return [
            (probe.pk, probe.payload)
            for probe in waiting[:1]
            if waiting.filter(pk=probe.pk).update(lock=self.timeout(probe))
        ]
