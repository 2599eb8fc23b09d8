"""Read the depth of each queue and keep it, so that pages, probes and decisions never wait for SQS (I8)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from alerts import notify
from jobs import sqs
from jobs.models import QueueState

THREADS = 8
# The rule of the alert about a queue that can't be read, and its fingerprint before the queue's name.
UNREADABLE = "queue_unreadable"


def refresh_queue_states() -> None:
    """Read all configured queues. One that can't be read keeps its old figures and says why in ``error``."""
    _forget_others()
    QueueState.objects.bulk_create([QueueState(name=name) for name in settings.QUEUES], ignore_conflicts=True)
    # Figures count from before they were read: whoever compares a time with them is then on the safe side.
    began = _database_time()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="queue-depth") as pool:
        readings = pool.map(_read, [queue.url for queue in settings.QUEUES.values()])
        for name, reading in zip(settings.QUEUES, readings, strict=True):
            _keep(name, reading, began)


def _forget_others() -> None:
    """A queue that is no longer configured can't be in trouble."""
    others = QueueState.objects.exclude(name__in=settings.QUEUES)
    for name in others.values_list("name", flat=True):
        notify.resolve(f"{UNREADABLE}:{name}")
    others.delete()


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
        return row[0]


def _read(url: str) -> sqs.QueueDepth | sqs.QueueError:
    """Runs in a thread of the pool, and so touches SQS alone."""
    try:
        return sqs.depth(url)
    except sqs.QueueError as error:
        return error


def _keep(name: str, reading: sqs.QueueDepth | sqs.QueueError, began: datetime) -> None:
    """A reading that began before the one that is stored came too late, and changes nothing."""
    changes: dict[str, Any]
    if isinstance(reading, sqs.QueueError):
        changes = {"error": str(reading)}
    else:
        changes = {
            "visible": reading.visible,
            "in_flight": reading.in_flight,
            "delayed": reading.delayed,
            "visibility_timeout_seconds": reading.visibility_timeout_seconds,
            "read_at": began,
            "error": "",
        }
    newer = Q(read_at=None) | Q(read_at__lte=began)
    QueueState.objects.filter(newer, name=name).update(checked_at=Now(), **changes)
