"""django-q2's broker in PostgreSQL, with signed JSON in the queue and an additional private queue per cluster.

Clusters share one queue, so a finished task proves that some cluster works, never which one. The probe of a
cluster goes to its private queue, which no other cluster reads. That queue is served first, so that a backlog
of tasks does not look like a stalled cluster.

django-q2 gives a broker pickles to store, and unpickles what a broker returns. This one stores JSON instead
(``opsconsole.cluster.packages``), and pickles only what it has verified, in the process that unpickles it. It keeps no
statistics in the cache, where django-q2 would store pickles as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from time import sleep
from typing import Any, NamedTuple

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from opsconsole.cluster import packages, task_table
from opsconsole.cluster.packages import PackageRefused
from opsconsole.kit.postgresql.timestamps import far

logger = logging.getLogger(__name__)

CLUSTER_ID = "SUPERVISED_CLUSTER_ID"
# A queue that no cluster reads. Its rows stay for people to look at; the time of ``lock`` is when they were refused.
REFUSED = "refused"
# Times are of the database's clock: a host whose clock is hours ahead would take what others still work on, and what it
# enqueues would wait for as long.
# The statements of each second and of each task are our own: Django takes longer to write them than PostgreSQL to answer.
WAITING = """
(SELECT id, key, payload, lock FROM django_q_ormq WHERE key = %(private)s AND lock <= statement_timestamp() LIMIT 1)
UNION ALL
(SELECT id, key, payload, lock FROM django_q_ormq WHERE key = %(shared)s AND lock <= statement_timestamp() LIMIT %(most)s)
"""
LEASE = """
UPDATE django_q_ormq SET lock = statement_timestamp() + %s, payload = %s WHERE id = %s AND key = %s AND lock = %s
"""
ACKNOWLEDGE = "DELETE FROM django_q_ormq WHERE id = %s"
REFUSED_KEPT, REFUSED_SHOWN = 100, timedelta(days=1)


def private_queue(cluster_id: str) -> str:
    return f"probe:{cluster_id}"


class _Waiting(NamedTuple):
    """A row that waits in a queue, as it was read."""

    pk: int
    key: str
    payload: str
    lock: datetime


def recently_refused() -> QuerySet[OrmQ]:
    """Return the tasks that a cluster refused within the last day."""
    rows: QuerySet[OrmQ] = OrmQ.objects.filter(key=REFUSED, lock__gte=Now() - REFUSED_SHOWN)
    return rows


class ProbedBroker(ORM):  # type: ignore[misc]  # django-q2 has no types
    @staticmethod
    def get_cache() -> None:
        """Return no cache: nothing of the cluster is stored outside of the database."""

    def enqueue(self, task: str) -> Any:
        """Store a task that ``async_task`` packed in this process."""
        payload = packages.pack(SignedPackage.loads(task))
        return OrmQ.objects.create(key=self.list_key or Conf.CLUSTER_NAME, payload=payload, lock=Now()).pk

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Return tasks as django-q2's own sentinel takes them, or None after an idle pause when there are none."""
        tasks = self.take()
        if tasks is None:
            sleep(Conf.POLL)
            return None
        return [(pk, SignedPackage.dumps(task)) for pk, task in tasks]

    def take(self) -> list[tuple[int, dict[str, Any]]] | None:
        """Lease up to ``bulk`` tasks, and return them as (id, task); None when there are none."""
        waiting = self._waiting()
        if not waiting:
            return None
        shared = [row for row in waiting if row.key == self.list_key]
        private = [row for row in waiting if row.key != self.list_key]
        taken = [*self._lease(private)] or [*self._lease(shared)]
        if not taken:
            # Other clusters were faster, or a row has a time such as '-infinity', which can't be compared.
            OrmQ.objects.exclude(key=REFUSED).filter(far("lock")).update(key=REFUSED, lock=Now())
        return [(pk, task) for pk, task in taken if task]

    def acknowledge(self, task_id: int) -> None:
        self._execute(ACKNOWLEDGE, [task_id])

    def give_back(self, pk: int, task: dict[str, Any]) -> None:
        """Let a task that was taken and not begun be taken at once, as if it had not been taken."""
        payload = packages.pack(task | {"takes": task["takes"] - 1})
        OrmQ.objects.filter(pk=pk).update(lock=Now(), payload=payload)

    def _waiting(self) -> list[_Waiting]:
        """Read what may be taken next from the private queue and from the shared one, by one query: mostly, there is nothing."""
        cluster_id = os.environ.get(CLUSTER_ID)
        queues = {"private": cluster_id and private_queue(cluster_id), "shared": self.list_key}
        with self._execute(WAITING, queues | {"most": Conf.BULK}) as cursor:
            return [_Waiting(*row) for row in cursor.fetchall()]

    def _lease(self, waiting: list[_Waiting]) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Lease tasks, and yield each with how often it was taken, in ``takes``; None for a row that is put aside."""
        for row in waiting:
            task, refusal = _read(row.payload)
            payload = packages.pack(task) if task else row.payload
            if self._execute(LEASE, [retried_after(task), payload, row.pk, row.key, row.lock]).rowcount:
                if refusal:
                    _refuse(row.pk, row.payload, refusal)
                yield row.pk, task

    def _execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> CursorWrapper:
        self.get_connection()  # It closes a connection that is no longer usable.
        cursor = connection.cursor()
        cursor.execute(statement, parameters)
        return cursor


def retried_after(task: dict[str, Any] | None) -> timedelta:
    """Return how long after it was taken a task is offered again: only after its time limit has certainly passed."""
    seconds = task_table.seconds_of(task["func"]) if task else None
    return timedelta(seconds=Conf.RETRY + (seconds - Conf.TIMEOUT if seconds else 0))


def _read(payload: str) -> tuple[dict[str, Any] | None, PackageRefused | None]:
    """Return the task of a row that is about to be taken once more, or why it is refused."""
    try:
        task = packages.unpack(payload)
    except PackageRefused as error:
        return None, error
    return task | {"takes": task.get("takes", 0) + 1}, None


def _refuse(pk: int, payload: str, refusal: PackageRefused) -> None:
    """Put a row aside, or delete what an earlier version left."""
    if packages.is_of_earlier_version(payload):
        OrmQ.objects.filter(pk=pk).delete()
        logger.info("Queued task %s is of an earlier version; the next schedule does its work.", pk)
    else:
        _put_aside(pk)
        logger.error("Queued task %s is refused and put aside: %s", pk, refusal)


def _put_aside(pk: int) -> None:
    """Move a row out of every queue, and keep only the newest rows that were moved."""
    OrmQ.objects.filter(pk=pk).update(key=REFUSED, lock=Now())
    kept = OrmQ.objects.filter(key=REFUSED).order_by("-lock", "-pk").values("pk")[:REFUSED_KEPT]
    OrmQ.objects.filter(key=REFUSED).exclude(pk__in=kept).delete()
