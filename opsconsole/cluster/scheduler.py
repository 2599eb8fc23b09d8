"""The scheduler of the cluster: queues the tasks of due schedules, and refuses schedules that are not in the task table.

It takes the place of django-q2's scheduler, which evaluates the arguments in a row, queues whatever function the row
names, runs it at once in its own process if the row says so, and gives up all schedules for one row that it can't read.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from django.db import Error, close_old_connections, transaction
from django.db.models.functions import Now
from django_q.models import Schedule
from django_q.tasks import async_task

from opsconsole.cluster import schedules
from opsconsole.kit import row_locks
from opsconsole.kit.database_troubles import headline, trouble_behind
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

MOST_LOGGED = 1_000
_logged: set[tuple[int, str]] = set()


def run(broker: Any = None) -> None:
    """Queue what is due; an error of the database leaves it to the next call. The cluster calls this about twice a minute."""
    close_old_connections()
    try:
        queue_due(broker)
    except Error as error:
        logger.warning("%s; no schedule was queued: %s", headline(trouble_behind(error)), first_line(error))


def queue_due(broker: Any = None) -> None:
    """Queue the tasks of schedules that are due and free, and log each refused schedule once."""
    schedules.mend_times()
    with transaction.atomic():
        for schedule in row_locks.locked_if_free(schedules.due().annotate(db_now=Now())):
            _queue(schedule, broker)
    _tell_refused()


def _queue(schedule: Any, broker: Any) -> None:
    entry = schedules.entry_of(schedule)
    if entry is None:
        return
    task_id = async_task(entry.task, group=entry.full_name, broker=broker)
    interval = timedelta(minutes=entry.minutes)
    # One run makes up for all that were missed, and the next one keeps the rhythm.
    missed = (schedule.db_now - schedule.next_run) // interval
    Schedule.objects.filter(pk=schedule.pk).update(
        task=task_id, next_run=schedule.next_run + (missed + 1) * interval
    )
    logger.info("Queued the schedule '%s'", entry.full_name)


def _tell_refused() -> None:
    for pk, name, function in schedules.refused().values_list("pk", "name", "func")[:MOST_LOGGED]:
        if (pk, function) not in _logged and len(_logged) < MOST_LOGGED:
            _logged.add((pk, function))
            logger.error("Schedule %s ('%s') is refused: %s is not in the task table.", pk, name, function)
