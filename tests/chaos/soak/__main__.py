"""Run the soak: ``python -m tests.chaos.soak [--minutes 30] [--seed N]``. Exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.soak import proof
from tests.chaos.soak.faults import Faults
from tests.chaos.soak.host import Host
from tests.chaos.soak.services import Services
from tests.waiting import wait_until

# One host enqueues this many jobs at once, with pauses of so many seconds.
JOBS, PAUSE_SECONDS = 20, 8.0
# A job takes so many steps of 0.15 seconds.
STEPS = 12
# The most time after the last fault until all jobs have ended.
CALM_SECONDS = 240.0
BEGUN = "SELECT count(*) FROM jobs WHERE status = 'completed'"
NAMES = ("ash", "birch")


class Producer(threading.Thread):
    """Enqueues jobs on one host after the other. ``accepted`` counts only those whose command succeeded."""

    def __init__(self, hosts: list[Host]) -> None:
        super().__init__(name="producer", daemon=True)
        self.hosts = hosts
        self.accepted = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        turn = 0
        while not self.stopping.is_set():
            words = ("enqueue_jobs", "--customer=SOAK", f"--package-size={STEPS}", f"--count={JOBS}")
            if self._enqueue(self.hosts[turn % len(self.hosts)], *words):
                self.accepted += JOBS
            turn += 1
            self.stopping.wait(PAUSE_SECONDS)

    def _enqueue(self, host: Host, *words: str) -> bool:
        try:
            return host.run(*words)
        except subprocess.TimeoutExpired:
            return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--folder", type=Path, help="keep the output of all processes here")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        return soak(stack, folder, options.minutes, options.seed)


def soak(stack: ExitStack, folder: Path, minutes: float, seed: int) -> int:
    print(f"soak of {minutes:g} minutes, seed {seed}", flush=True)
    services = stack.enter_context(Services(folder))
    hosts = [Host(name, services, folder) for name in NAMES]
    services.manage("migrate", "-v0")
    services.manage("sync_schedules")
    services.manage("recovery_mode", "arm", "--cutoff=all", "--reason=soak")
    for host in hosts:
        stack.enter_context(host)
    faults = Faults(hosts, services, random.Random(seed))
    producer = Producer(hosts)
    producer.start()
    wait_until(lambda: services.number(BEGUN), timeout=120, what="the first completed job")
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        time.sleep(faults.chance.uniform(1.0, 4.0))
        print(f"  {faults.next()}", flush=True)
        for host in hosts:
            host.keep_running()
    producer.stopping.set()
    producer.join()
    calm_down(services, hosts)
    return report(services, faults, producer)


def calm_down(services: Services, hosts: list[Host]) -> None:
    """Wait until everything has ended, or for so long that it never will."""
    until = time.monotonic() + CALM_SECONDS
    while time.monotonic() < until and (proof.unfinished(services) or proof.untold(services)):
        for host in hosts:
            host.keep_running()
        time.sleep(1)


def report(services: Services, faults: Faults, producer: Producer) -> int:
    states = services.rows("SELECT status, count(*) AS n FROM jobs GROUP BY 1 ORDER BY 1")
    kinds = Counter(row.kind for row in services.rows("SELECT kind FROM job_events"))
    print(f"{len(faults.log)} faults; jobs: {', '.join(f'{row.n} {row.status}' for row in states)}")
    print(
        f"events: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common() if kind != 'progress')}"
    )
    print(f"{len(services.slack.posts)} posts to Slack")
    print(proof.times_to_recovery(services, faults.deaths))
    broken = list(proof.violations(services, producer.accepted))
    print("\n".join(broken) or "Every job ended once, and every alert was told.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
