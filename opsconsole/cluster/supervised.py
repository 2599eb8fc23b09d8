"""The supervised cluster: runs ``qcluster`` and the loops beside it, and restarts a stalled cluster.

The loops are the outbox dispatcher, the alert sender, and those of sweeps and dead letter checks whose interval is too
short for a schedule.

A cluster that lost a worker at the wrong moment stalls and still reports "Working". Probes are therefore sent
through it, and only a probe that was run and acknowledged counts as progress.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import cast

from django.conf import settings
from django.db import Error, close_old_connections, connection, connections, transaction
from django.db.models import F, QuerySet
from django_q.models import OrmQ
from django_q.tasks import async_task

from opsconsole.cluster import forks, loops, schedules
from opsconsole.cluster.broker import CLUSTER_ID, private_queue
from opsconsole.cluster.task_table import PROBE
from opsconsole.kit import alive, doorbell, intervals, schema_version
from opsconsole.kit.database_troubles import Trouble, headline, require_writable, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole.kit.models import ClusterProgress
from opsconsole.kit.supervision.supervisor import Program, StopRequests, Supervisor

logger = logging.getLogger(__name__)

CLUSTER = "cluster"
# How often the database is asked whether migrations are missing, and whether the cluster works, unless a stall is a short time.
# A child that ends is noticed at once.
WAIT_SECONDS = 1.0
LOOK_SECONDS = 10.0
# On a busy machine, a cluster may need this long after its start to run its first task.
BOOT_SECONDS = 15.0
# The cluster's scheduler runs twice a minute.
SCHEDULER_SECONDS = 60.0
END_SECONDS = 10.0
# How long to wait for a delivery that hangs.
SENDER_SECONDS = 25.0


def run(stop: StopRequests, beside: Iterable[Program] = ()) -> None:
    """Keep the cluster, its loops and what is ``beside`` running until asked to stop, then let them finish."""
    life = alive.SignOfLife()
    # A fork must not have our connection.
    with doorbell.hung(), Supervisor(_log, before_start=connections.close_all) as supervisor:
        forks.share_memory()
        for program in beside:
            supervisor.start(program)
        _wait_for_migrations(supervisor, stop, life)
        cluster_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        watch = Watch(cluster_id)
        watch.follow_settings()
        for program in programs(cluster_id):
            supervisor.start(program)
        watch.begin()
        while not stop.asked:
            supervisor.wait(max(WAIT_SECONDS, watch.rest), stop)
            life.give()
            if CLUSTER in supervisor.turn():
                watch.begin()
            elif supervisor.child(CLUSTER) and (why := watch.look()):
                watch.note_restart(why)
                supervisor.restart(CLUSTER, why)
        logger.info("Asked to end: waiting for running tasks.")
        supervisor.end(stop)
    watch.leave()


def _wait_for_migrations(supervisor: Supervisor, stop: StopRequests, life: alive.SignOfLife) -> None:
    """Wait while migrations are missing: django-q2 would fail at each of its tables. An outage is left to the programs."""
    warned = False
    while not stop.asked:
        close_old_connections()
        try:
            if not schema_version.is_behind():
                return
        except Error:
            return
        if not warned:
            logger.warning("%s Waiting for python manage.py migrate.", Trouble.NOT_MIGRATED.value)
        warned = True
        life.give()
        supervisor.turn()
        supervisor.wait(WAIT_SECONDS, stop)


def programs(cluster_id: str) -> list[Program]:
    """Return the programs of one supervisor: the cluster, with the time that a running task may take, and the loops beside it."""
    task_seconds = cast(int, settings.Q_CLUSTER["timeout"])
    return [
        forks.program(CLUSTER, "qcluster", grace=task_seconds + END_SECONDS, env={CLUSTER_ID: cluster_id}),
        loops.program([*_loops()], grace=SENDER_SECONDS),
    ]


def _loops() -> Iterator[tuple[str, str]]:
    """Yield the loops, also for work whose interval is below a minute, which django-q2 can't schedule."""
    yield "dispatch_outbox", "--loop"
    yield "send_alerts", "--loop"
    if not intervals.of_sweeps().minutes:
        yield "recover_stale_jobs", "--loop"
    if not intervals.of_dead_letter_checks().minutes:
        yield "check_dlq", "--loop"


def _log(name: str, sentence: str) -> None:
    logger.warning("%s: %s.", name, sentence)


class Watch:
    """Sends probes through one cluster and reports when it stalls. ``clock`` returns monotonic seconds."""

    def __init__(self, cluster_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.cluster_id = cluster_id
        self._clock = clock
        self._stall = float(settings.OPSCONSOLE_CLUSTER_STALL_SECONDS)
        self._probe = 0
        self._database_away = False
        self.begin()

    def begin(self) -> None:
        """Reset all measurements, because the cluster was started."""
        self._looked_at = self._clock()
        self._progress_at = self._looked_at + BOOT_SECONDS
        self._sent_at: float | None = None
        self._due_since: dict[tuple[str, datetime], float] = {}

    @property
    def rest(self) -> float:
        """Return in how many seconds to look again."""
        return self._looked_at + min(LOOK_SECONDS, self._stall / 6) - self._clock()

    def look(self) -> str | None:
        """Return why the cluster counts as stalled, or None. While the database is away, that is unknown."""
        if self.rest > 0:
            return None
        now = self._looked_at = self._clock()
        try:
            with transaction.atomic():
                _answer_soon()
                # In a read-only database no probe can be acknowledged.
                require_writable()
                self._regain_sight()
                return self._no_task_came_through(now) or self._schedule_was_left(now)
        except Error as error:
            self._lose_sight(error)
            return None

    def _no_task_came_through(self, now: float) -> str | None:
        if self._sent_at is not None:
            if not self._came_through():
                silent = now - self._progress_at
                return f"no task came through it for {silent:.0f} s" if silent > self._stall else None
            self._progress_at = now
        if self._sent_at is None or now - self._sent_at >= self._stall / 3:
            self._send(now)
        return None

    def _came_through(self) -> bool:
        """Tell whether the probe was run (the task wrote its row) and acknowledged (its message is gone)."""
        run = ClusterProgress.objects.filter(pk=self.cluster_id, probe=self._probe).exists()
        return run and not self._messages().exists()

    def _messages(self) -> QuerySet[OrmQ]:
        messages: QuerySet[OrmQ] = OrmQ.objects.filter(key=private_queue(self.cluster_id))
        return messages

    def _forget_the_past(self) -> None:
        """Delete probes that nobody will acknowledge: those from before a restart, and those of killed supervisors."""
        self._messages().delete()
        gone = list(ClusterProgress.objects.forgotten().values_list("pk", flat=True))
        OrmQ.objects.filter(key__in=[private_queue(cluster_id) for cluster_id in gone]).delete()
        ClusterProgress.objects.filter(pk__in=gone).delete()

    def _send(self, now: float) -> None:
        if self._sent_at is None:
            self._forget_the_past()
        self._probe += 1
        self._sent_at = now
        ClusterProgress.objects.get_or_create(pk=self.cluster_id, defaults={"hostname": socket.gethostname()})
        queue = private_queue(self.cluster_id)
        async_task(PROBE, self.cluster_id, self._probe, cluster=queue, save=False)

    def _schedule_was_left(self, now: float) -> str | None:
        due = schedules.due().values_list("name", "next_run")
        self._due_since = {schedule: self._due_since.get(schedule, now) for schedule in due}
        for (name, _), since in self._due_since.items():
            if now - since > self._stall + SCHEDULER_SECONDS:
                return f"the schedule '{name}' has been due for {now - since:.0f} s and was not started"
        return None

    def _lose_sight(self, error: Error) -> None:
        connection.close()
        if not self._database_away:
            logger.warning(
                "%s; whether the cluster works is unknown: %s",
                headline(trouble_behind(error)),
                first_line(error),
            )
        self._database_away = True

    def _regain_sight(self) -> None:
        if self._database_away:
            logger.info("The database answers again.")
            self._database_away = False
            self.begin()

    def follow_settings(self) -> None:
        """Let the schedules have the intervals of the settings that this cluster starts with."""
        self._if_the_database_answers(schedules.sync_intervals)

    def note_restart(self, why: str) -> None:
        self._if_the_database_answers(
            lambda: ClusterProgress.objects.filter(pk=self.cluster_id).update(
                restarts=F("restarts") + 1, restart_reason=why
            )
        )

    def leave(self) -> None:
        """Delete the rows of this cluster."""
        self._if_the_database_answers(
            lambda: (
                self._messages().delete(),
                ClusterProgress.objects.filter(pk=self.cluster_id).delete(),
            )
        )

    def _if_the_database_answers(self, change: Callable[[], object]) -> None:
        try:
            change()
        except Error as error:
            self._lose_sight(error)


def _answer_soon() -> None:
    """Limit the time of statements: a database that is slow to answer counts as away, and signals must be handled."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '5s'")
