"""django-q2's sentinel, which also ends the cluster when the death of a process may have blocked it.

An idle worker and the monitor hold the lock of the queue that they wait for, and the pusher takes a place in the queue
before it sends a task. When such a process is killed, its replacement waits for ever, and the cluster does nothing
while it reports "Working". The sentinel alone sees how its children ended. It kills the whole group at once, and the
supervisor starts the cluster again (docs/decisions/0004-cluster-supervision.md).
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from django_q import cluster

from opsconsole.cluster import scheduler
from opsconsole.cluster.broker import CLUSTER_ID

logger = logging.getLogger(__name__)


class Sentinel(cluster.Sentinel):  # type: ignore[misc]  # django-q2 has no types
    def guard(self) -> None:
        """Queue what is due at once, and then watch the children. django-q2 alone would wait for half a minute."""
        scheduler.run(self.broker)
        super().guard()

    def reincarnate(self, process: Any) -> None:
        """Replace a child that ended, or end the cluster when a kill may have blocked it."""
        if os.environ.get(CLUSTER_ID) and self._may_block(process):
            number = signal.Signals(-(process.exitcode or 0))
            logger.critical(
                "Process %s of the cluster was killed by %s and may hold a lock: the cluster starts again.",
                process.pid,
                number.name,
            )
            # The supervisor started the cluster as the leader of a process group.
            os.killpg(os.getpgrp(), signal.SIGKILL)
        super().reincarnate(process)

    def _may_block(self, process: Any) -> bool:
        if process.exitcode is None or process.exitcode >= 0:
            return False
        # A worker that is executing a task holds no lock. Its timer counts down to 0, when it is ended for its time limit.
        return process in (self.monitor, self.pusher) or bool(process.timer.value < 0)


def use() -> None:
    """Let the clusters that this process starts have this sentinel and our scheduler."""
    cluster.Sentinel = Sentinel
    cluster.scheduler = scheduler.run
