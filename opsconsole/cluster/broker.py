"""django-q's queue in PostgreSQL, with a second, private queue for each cluster.

Clusters share one queue, so a task says that some cluster works, never that this one does. A probe for one
cluster goes to the queue of its own, which nobody else reads; it is served first, so that a backlog of
tasks does not look like a standstill.
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
        """Up to ``bulk`` tasks as (id, payload); None after an idle pause when there is nothing to do."""
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
