"""The worker processes of the cluster: forks that each run one task at a time, by the function that django-q2's workers run.

django-q2 lets all of its workers wait for one queue, and one that is killed takes the lock of the queue along. Here each worker has
a pipe of its own, so that its death concerns no other.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from typing import Any

from django.db import connections
from django_q.conf import Conf
from django_q.worker import worker as run_tasks

from opsconsole.cluster import task_table
from opsconsole.kit.supervision import starting

STOP = "STOP"
# django-q2's: a task that obeys its time limit has this long to end by itself.
PATIENCE_SECONDS = 3.0
# What a worker inherited and must not use, kept so that psycopg need not warn of a connection that nobody closed.
_left: list[Any] = []


class _Line:
    """A worker's end of its pipe, in place of the two queues that django-q2's function reads and writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            # The sentinel was killed.
            return STOP

    def put(self, task: dict[str, Any]) -> None:
        self._connection.send(task)


class _Timer:
    """What django-q2's function tells its sentinel about time. Ours has a clock of its own."""

    value = -1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def get_lock(self) -> threading.Lock:
        return self._lock


class Worker:
    """A worker process. ``task`` is what it runs, since ``since``; None while it waits.

    Making one raises ``OSError`` when the system refuses the fork.
    """

    _count = 0

    def __init__(self, others: Iterable[Worker]) -> None:
        Worker._count += 1
        self._pipe, theirs = Pipe()
        # It must not hold the pipes of others open, or they would not notice the end of the sentinel.
        inherited = [self._pipe, *(other.signs()[0] for other in others)]
        self._process = get_context("fork").Process(
            target=_work, args=(theirs, inherited), name=f"worker-{Worker._count}", daemon=True
        )
        try:
            starting.start(self._process)
        except OSError:
            self._pipe.close()
            raise
        finally:
            theirs.close()
        self.task: dict[str, Any] | None = None
        self.since = time.monotonic()
        self.is_ending = False
        self._finished = 0

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def code(self) -> int | None:
        """Return the exit code, or minus the number of the signal that killed the process; None while it runs."""
        return self._process.exitcode

    @property
    def is_idle(self) -> bool:
        return self.task is None and not self.is_ending

    @property
    def lasted(self) -> float:
        """Return for how long it has run its task, or waited for one."""
        return time.monotonic() - self.since

    @property
    def is_over_time(self) -> bool:
        return self.task is not None and self.lasted > self.time_limit + PATIENCE_SECONDS

    @property
    def time_limit(self) -> int:
        """Return how many seconds its task may take."""
        seconds = task_table.seconds_of(self.task["func"]) if self.task else None
        return seconds or int(Conf.TIMEOUT)

    @property
    def has_long_task(self) -> bool:
        return self.time_limit > int(Conf.TIMEOUT)

    def signs(self) -> tuple[Connection, int]:
        """Return what becomes readable when it has a result, and when it ends."""
        return self._pipe, self._process.sentinel

    def give(self, task: dict[str, Any]) -> None:
        """Let it run a task. One that ended meanwhile has it all the same, so that its death is told with the task."""
        self.task, self.since = task, time.monotonic()
        self._send(task | {"timeout": self.time_limit})

    def result(self) -> dict[str, Any] | None:
        """Return the task with its result, if it has sent one."""
        try:
            if not self._pipe.poll():
                return None
            finished: dict[str, Any] = self._pipe.recv()
        except (EOFError, OSError):
            return None
        self._finished += 1
        # Then django-q2's function returns by itself, and whoever gave it a task meanwhile would wait for the retry.
        if self.lasted >= self.time_limit or self._finished >= Conf.RECYCLE:
            self.end()
        self.task, self.since = None, time.monotonic()
        return finished

    def end(self) -> None:
        """Let it end after its task."""
        self.is_ending = True
        self._send(STOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """Give up the pipe of a process that has ended."""
        self._pipe.close()
        self._process.join()

    def _send(self, what: object) -> None:
        try:
            self._pipe.send(what)
        except OSError:
            # It has ended, which its exit code tells.
            self.is_ending = True


def _work(line: Connection, inherited: Iterable[Connection]) -> None:
    for each in inherited:
        each.close()
    _leave_connections()
    # The sentinel's handlers are not a worker's. Ctrl-C is the sentinel's to answer.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ours = _Line(line)
    run_tasks(ours, ours, _Timer(), Conf.TIMEOUT)


def _leave_connections() -> None:
    """Leave the sessions that this fork inherited to the sentinel, which goes on with them: only their files are closed here.

    libpq would tell the server that the session ends; psycopg lets only the process do so that has made the connection.
    """
    for each in connections.all(initialized_only=True):
        del connections[each.alias]
        if each.connection and not each.connection.closed:
            _left.append(each.connection)
            os.close(each.connection.fileno())
