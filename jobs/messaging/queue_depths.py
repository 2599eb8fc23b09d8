"""Queue depths: read from SQS and stored, so that pages, probes and decisions never wait for SQS (I8)."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import Error, connection
from django.db.models import Q
from django.db.models.functions import Now

from alerts import notify
from jobs.models import QueueState
from jobs.models.waiting_message import lost_after
from opsconsole.kit.errors import first_line
from opsconsole_worker import sqs

logger = logging.getLogger(__name__)

# The cluster reads the queues every minute.
READ_EVERY = timedelta(minutes=1)
THREADS = 8
# The rule of the alert about an unreadable queue, and the beginning of the alert's fingerprint.
UNREADABLE = "queue_unreadable"


def refresh_queue_states() -> None:
    """Read all configured queues. An unreadable one keeps its old figures, with the reason in ``error``."""
    _forget_others()
    QueueState.objects.bulk_create([QueueState(name=name) for name in settings.QUEUES], ignore_conflicts=True)
    # The figures get the time from before the reading, which is the safe side for comparisons.
    began = _database_time()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="queue-depth") as pool:
        readings = pool.map(_read, [queue.url for queue in settings.QUEUES.values()])
        for name, reading in zip(settings.QUEUES, readings, strict=True):
            _keep(name, reading, began)


class BackgroundReader:
    """Reads the queues beside a loop of sweeps, which must not wait for SQS: a gap between sweeps counts as an outage."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def read_if_due(self) -> None:
        """Begin to read the queues, unless they were read recently or are being read."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=_refresh_if_due, name="queue-depths", daemon=True)
            self._thread.start()


def _refresh_if_due() -> None:
    try:
        # A message counts as lost by the readings, so that they must not be rarer than that.
        recent = Now() - min(READ_EVERY, lost_after() / 2)
        checked = set(QueueState.objects.filter(checked_at__gte=recent).values_list("name", flat=True))
        if settings.QUEUES.keys() - checked:
            refresh_queue_states()
    except Error as error:
        logger.warning("The queues were not read: the database does not answer: %s", first_line(error))
    finally:
        connection.close()


def _forget_others() -> None:
    """Delete the state and resolve the alert of queues that are no longer configured."""
    others = QueueState.objects.exclude(name__in=settings.QUEUES)
    for name in others.values_list("name", flat=True):
        notify.resolve(f"{UNREADABLE}:{name}", news="The queue was removed from the settings.")
    others.delete()


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
        return row[0]


def _read(url: str) -> sqs.QueueDepth | sqs.QueueError:
    """Read one queue. This runs in a thread of the pool and therefore uses SQS only."""
    try:
        return sqs.depth(url)
    except sqs.QueueError as error:
        return error


def _keep(name: str, reading: sqs.QueueDepth | sqs.QueueError, began: datetime) -> None:
    """Store a reading, unless it began before the stored one."""
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
