"""The faults of the soak: each begins, lasts for a while and ends, and tells in a few words what it did."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from opsconsole.kit.counting import exactly
from tests.chaos.soak.host import Host
from tests.chaos.soak.services import Services
from tests.fakes.slack import HANG, Reply

BUSY = """
SELECT beat.pid, job.id AS job_id, job.run_epoch
  FROM jobs AS job JOIN worker_heartbeats AS beat
    ON beat.current_job_id = job.id AND beat.current_run_epoch = job.run_epoch
 WHERE job.status = 'in_progress' AND beat.pid = ANY (%(pids)s::int[])
   AND beat.last_heartbeat > now() - interval '3 s'
"""
# After an outage it takes a moment until a worker is busy again.
PATIENCE_TURNS = 50
SLACK_FAULTS = {
    "Slack answers 500": Reply(500, "oops"),
    "Slack throttles": Reply(429, "rate_limited", {"Retry-After": "2"}),
    "Slack hangs": HANG,
}


@dataclass(frozen=True)
class Death:
    """A run whose worker was killed, and when."""

    job_id: UUID
    epoch: int
    at: float


@dataclass
class Faults:
    """Causes one fault after another, as ``chance`` decides, so that a seed repeats the order."""

    hosts: Sequence[Host]
    services: Services
    chance: random.Random
    deaths: list[Death] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> Sequence[Callable[[Host], str]]:
        return (
            self.kill_busy_workers,
            self.kill_busy_workers,
            self.freeze_a_worker,
            self.kill_in_the_cluster,
            self.kill_the_sweeps,
            self.restart_postgres,
            self.cut_connections,
            self.partition_from_postgres,
            self.partition_from_sqs,
            self.refuse_sqs,
            self.break_slack,
        )

    def next(self) -> str:
        """Cause one fault, and return what was done when it is over."""
        host = self.chance.choice(self.hosts)
        done = f"{host.name}: {self.chance.choice(self.kinds)(host)}"
        self.log.append(done)
        return done

    def _seconds(self, least: float, most: float) -> float:
        return self.chance.uniform(least, most)

    def kill_busy_workers(self, host: Host) -> str:
        busy = self._busy_runs(host)[:2]
        for row in busy:
            os.kill(row.pid, signal.SIGKILL)
            self.deaths.append(Death(row.job_id, row.run_epoch, time.time()))
        return f"killed {exactly(len(busy), 'busy worker')}"

    def _busy_runs(self, host: Host) -> list[Any]:
        for _ in range(PATIENCE_TURNS):
            if busy := self.services.rows(BUSY, pids=host.pids("worker")):
                return busy
            time.sleep(0.2)
        return []

    def freeze_a_worker(self, host: Host) -> str:
        """Stop a worker, sometimes for longer than the threshold: its result is then late."""
        pids = host.pids("worker")
        if not pids:
            return "no worker ran"
        pid, seconds = self.chance.choice(pids), self._seconds(2, 2.0 * self.services.stale_seconds)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
        return f"froze a worker for {seconds:.0f} s"

    def kill_in_the_cluster(self, host: Host) -> str:
        return host.kill_part_of_the_cluster(self.chance)

    def kill_the_sweeps(self, host: Host) -> str:
        for pid in host.pids("sweeps"):
            os.kill(pid, signal.SIGKILL)
        return "killed its sweeps"

    def restart_postgres(self, _: Host) -> str:
        self.services.restart_postgres()
        return "restarted PostgreSQL"

    def cut_connections(self, host: Host) -> str:
        host.postgres.cut()
        return "cut its connections to PostgreSQL"

    def partition_from_postgres(self, host: Host) -> str:
        seconds = self._seconds(3, 1.5 * self.services.stale_seconds)
        host.postgres.silence(on=True)
        time.sleep(seconds)
        host.postgres.silence(on=False)
        return f"no packet to PostgreSQL for {seconds:.0f} s"

    def partition_from_sqs(self, host: Host) -> str:
        seconds = self._seconds(3, 10)
        host.sqs.silence(on=True)
        time.sleep(seconds)
        host.sqs.silence(on=False)
        return f"no packet to SQS for {seconds:.0f} s"

    def refuse_sqs(self, host: Host) -> str:
        seconds = self._seconds(2, 6)
        host.sqs.refuse(on=True)
        time.sleep(seconds)
        host.sqs.refuse(on=False)
        return f"SQS refused connections for {seconds:.0f} s"

    def break_slack(self, _: Host) -> str:
        name = self.chance.choice(sorted(SLACK_FAULTS))
        seconds = self._seconds(3, 8)
        self.services.slack.always = SLACK_FAULTS[name]
        time.sleep(seconds)
        self.services.slack.always = None
        return f"{name} for {seconds:.0f} s"
