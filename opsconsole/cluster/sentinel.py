"""The sentinel of a cluster: one process that queues due schedules, takes tasks, gives them to workers and stores their results.

django-q2 has five processes for this, whose queues and locks a killed one can block. Here it is one loop that waits for whatever
comes first; the tasks themselves run in workers (``opsconsole.cluster.workers``), which are forked when they are needed.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from multiprocessing import connection as pipes
from typing import Any

from django.db import DataError, Error, IntegrityError, close_old_connections, connection
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.conf import Conf

from opsconsole.cluster import results, scheduler
from opsconsole.cluster.broker import ProbedBroker, retried_after
from opsconsole.cluster.workers import Worker
from opsconsole.kit.database_troubles import headline, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole.kit.supervision.supervisor import StopRequests

logger = logging.getLogger(__name__)

# The shortest wait for a limit that has passed, such as that of a worker that is ending.
TURN_SECONDS = 0.2
SCHEDULER_SECONDS = 30.0
# After the database did not answer.
AWAY_SECONDS = 5.0
# A second worker is started when the first has run a task for so long: most tasks are shorter than a start is worth.
LONG_SECONDS = 2.0
# A task that was begun so often and never ended is a failure. Most likely it is what kills its worker.
MOST_TAKES = 3
# A worker that waited for so long ends, and its memory with it. Schedules come in bursts, once a minute.
IDLE_SECONDS = 5.0


class Sentinel:
    """Runs tasks until it is asked to stop, at most as many at once as django-q2's setting ``workers`` says."""

    def __init__(self, stop: StopRequests) -> None:
        self._stop = stop
        self._broker: ProbedBroker = get_broker()
        self._workers: list[Worker] = []
        self._scheduler_at = self._ask_at = time.monotonic()
        self._is_away = False

    def run(self, *, once: bool = False) -> None:
        """Run what is due, until asked to stop, and then let the running tasks finish. ``once``: take one turn only."""
        logger.info("The cluster runs as process %d.", os.getpid())
        while not self._stop.asked:
            self._take_turn()
            if once:
                break
            self._wait(self._next_at(), self._stop.fd)
        logger.info("Stopping the cluster: waiting for the tasks of %d workers.", len(self._workers))
        for worker in list(self._workers):
            if worker.task and worker.has_long_task:
                self._abandon(worker, worker.task)
            else:
                worker.end()
        while self._workers:
            self._wait(time.monotonic() + 1)
            self._look_at_workers()

    def _take_turn(self) -> None:
        self._look_at_workers()
        if time.monotonic() >= self._scheduler_at:
            scheduler.run(self._broker)
            # What it queued need not wait.
            self._scheduler_at = time.monotonic() + SCHEDULER_SECONDS
            self._ask_at = min(self._ask_at, time.monotonic())
        if time.monotonic() >= self._ask_at:
            self._take_tasks()
        self._end_idle_workers()

    def _wait(self, until: float, *also: int) -> None:
        """Wait until a worker has a result or ends, or until that time."""
        signs = [sign for worker in self._workers for sign in worker.signs()]
        pipes.wait([*signs, *also], max(0.0, until - time.monotonic()))

    def _next_at(self) -> float:
        """Return when there is something to do, whatever the workers do."""
        times = [self._scheduler_at]
        if self._has_room():
            times.append(self._ask_at)
        now = time.monotonic()
        for worker in self._workers:
            if worker.is_idle:
                limit = IDLE_SECONDS
            else:
                limit = LONG_SECONDS if worker.lasted < LONG_SECONDS else worker.time_limit
            times.append(now + max(TURN_SECONDS, limit - worker.lasted))
        return min(times)

    def _has_room(self) -> bool:
        """Tell whether a worker waits, or another one may be started beside those that run long tasks."""
        if any(worker.is_idle for worker in self._workers):
            return True
        others = [worker for worker in self._workers if not worker.has_long_task]
        return len(others) < Conf.WORKERS and all(
            worker.is_ending or worker.lasted >= LONG_SECONDS for worker in others
        )

    def _take_tasks(self) -> None:
        """Take tasks while somebody can run them, and leave the others to other clusters."""
        while self._has_room():
            try:
                tasks = self._broker.take()
                self._is_away = False
            except Error as error:
                self._tell(error)
                self._ask_at = time.monotonic() + AWAY_SECONDS
                return
            if tasks is None:
                self._ask_at = time.monotonic() + Conf.POLL
                return
            for pk, task in tasks:
                if not self._begin(pk, task):
                    return

    def _begin(self, pk: int, taken: dict[str, Any]) -> bool:
        """Let a worker run a task, or give the task up. Return False when no worker can be started."""
        task = taken | {"ack_id": pk, "cluster": Conf.CLUSTER_NAME}
        if task["takes"] > MOST_TAKES:
            self._give_up(task, "each time, its process was killed or its result could not be stored")
            return True
        try:
            worker = self._free_worker()
        except OSError as error:
            self._leave(pk, taken, error)
            return False
        worker.give(task)
        return True

    def _leave(self, pk: int, task: dict[str, Any], error: OSError) -> None:
        """Leave a task to whoever can start a worker, and try again later."""
        self._ask_at = time.monotonic() + AWAY_SECONDS
        logger.error("No worker can be started, trying again in %.0f s: %s", AWAY_SECONDS, error)
        try:
            self._broker.give_back(pk, task)
        except Error as lost:
            self._tell(lost)

    def _give_up(self, task: dict[str, Any], how: str) -> None:
        """Store a task that never ends as failed, and acknowledge it."""
        result = f"It was begun {MOST_TAKES} times and never ended ({how}), so that it is not run again."
        self._store(
            task | {"success": False, "ack_failure": True, "stopped": timezone.now(), "result": result}
        )

    def _free_worker(self) -> Worker:
        for worker in self._workers:
            if worker.is_idle:
                return worker
        worker = Worker(self._workers)
        self._workers.append(worker)
        return worker

    def _end_idle_workers(self) -> None:
        for worker in self._workers:
            if worker.is_idle and worker.lasted >= IDLE_SECONDS:
                worker.end()

    def _look_at_workers(self) -> None:
        """Store results, end tasks that run over time, and forget the workers that ended."""
        for worker in list(self._workers):
            # Whether it has ended is asked first: what it sent before its end is read all the same.
            code = worker.code
            if finished := worker.result():
                self._store(finished)
            if code is not None:
                self._forget(worker, code)
            elif worker.is_over_time and worker.task:
                logger.critical(
                    "Worker %d is killed: its task '%s' ignores its time limit.",
                    worker.pid,
                    _named(worker.task),
                )
                worker.kill()

    def _abandon(self, worker: Worker, task: dict[str, Any]) -> None:
        """End a task that may take hours, for which nobody waits: its schedule begins it anew."""
        logger.info(
            "Worker %d is ended: its task '%s' is begun anew by a later schedule.", worker.pid, _named(task)
        )
        worker.kill()
        worker.close()
        self._workers.remove(worker)

    def _forget(self, worker: Worker, code: int) -> None:
        self._workers.remove(worker)
        worker.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        if worker.task and worker.task["takes"] >= MOST_TAKES:
            logger.critical(
                "Worker %d %s while it ran '%s', for the last time.", worker.pid, how, _named(worker.task)
            )
            self._give_up(worker.task, f"the last time, worker {worker.pid} {how} while it ran it")
        elif worker.task:
            logger.critical(
                "Worker %d %s while it ran '%s'; the task is run again in %d s.",
                worker.pid,
                how,
                _named(worker.task),
                retried_after(worker.task).total_seconds(),
            )
        elif code:
            logger.warning("Worker %d %s while it waited; another is started when needed.", worker.pid, how)

    def _store(self, finished: dict[str, Any]) -> None:
        """Store the result, and acknowledge the task. Without that, it is run again."""
        # Somebody may wait for room.
        self._ask_at = min(self._ask_at, time.monotonic())
        try:
            close_old_connections()
            self._keep_result(finished)
            if finished["success"] or finished.get("ack_failure", False):
                self._broker.acknowledge(finished["ack_id"])
        except Error as error:
            self._tell(error)
            return
        if finished["success"]:
            logger.info("Processed '%s' (%s)", _named(finished), finished["name"])
        else:
            logger.error("Failed '%s' (%s) - %s", _named(finished), finished["name"], finished["result"])

    def _keep_result(self, finished: dict[str, Any]) -> None:
        try:
            results.store(finished)
        except (DataError, IntegrityError) as error:
            # The same would happen again, so that the task counts as run.
            logger.error("The result of '%s' can't be stored: %s", _named(finished), first_line(error))  # noqa: TRY400

    def _tell(self, error: Error) -> None:
        connection.close()
        if not self._is_away:
            logger.warning("%s, trying again: %s", headline(trouble_behind(error)), first_line(error))
        self._is_away = True


def _named(task: dict[str, Any]) -> str:
    return str(task.get("group") or task["func"])
