"""What must hold when the soak is over: every job ended once, every alert was told, and nothing is left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from tests.chaos.soak.faults import Death
from tests.chaos.soak.services import Services

ENDINGS = ("completed", "failed")
RECOVERED = """
SELECT extract(epoch FROM at)::float AS at FROM job_events
 WHERE job_id = %(job_id)s AND run_epoch = %(epoch)s AND kind = 'recovered'
"""

UNTOLD = """
SELECT title FROM alerts AS alert
 WHERE NOT EXISTS (SELECT FROM alert_notifications AS notification
                     JOIN alert_deliveries AS delivery ON delivery.notification_id = notification.id
                    WHERE notification.alert_id = alert.id AND delivery.state = 'sent')
"""


def unfinished(services: Services) -> int:
    return services.number("SELECT count(*) FROM jobs WHERE status NOT IN ('completed', 'failed')")


def untold(services: Services) -> int:
    """Return how many messages to channels and queues are still to be sent."""
    return services.number(
        "SELECT (SELECT count(*) FROM alert_deliveries WHERE state = 'waiting')"
        " + (SELECT count(*) FROM outbox WHERE state = 'waiting')"
    )


def violations(services: Services, acknowledged: int) -> Iterator[str]:
    """Yield a sentence for each promise that was broken. ``acknowledged``: the jobs that were accepted."""
    jobs = services.number("SELECT count(*) FROM jobs")
    if jobs < acknowledged:
        yield f"{acknowledged} jobs were accepted, and only {jobs} exist."
    endings: Counter[tuple[object, int]] = Counter()
    claims: Counter[tuple[object, int]] = Counter()
    for event in services.rows(
        "SELECT job_id, run_epoch, kind FROM job_events WHERE kind IN ('claimed', 'completed', 'failed')"
    ):
        counted = claims if event.kind == "claimed" else endings
        counted[event.job_id, event.run_epoch] += 1
    yield from (f"Run {run} was claimed {count} times." for run, count in claims.items() if count > 1)
    yield from (f"Run {run} ended {count} times." for run, count in endings.items() if count > 1)
    if left := unfinished(services):
        yield f"{left} jobs have not ended."
    if left := untold(services):
        yield f"{left} messages to queues and channels were not sent."
    ended_jobs = Counter(job for job, _ in endings)
    yield from (f"Job {job} ended in {count} runs." for job, count in ended_jobs.items() if count > 1)
    for job in services.rows(
        "SELECT id, run_epoch, status FROM jobs WHERE status IN ('completed', 'failed')"
    ):
        if (job.id, job.run_epoch) not in endings:
            yield f"Job {job.id} is {job.status} in run {job.run_epoch}, and its timeline has no ending of it."
    for row in services.rows(
        "SELECT pid, now() - xact_start AS age FROM pg_stat_activity"
        " WHERE state = 'idle in transaction' AND now() - xact_start > interval '60 s'"
    ):
        yield f"Session {row.pid} is idle in a transaction of {row.age}."
    yield from _untold_alerts(services)


def _untold_alerts(services: Services) -> Iterator[str]:
    for alert in services.rows(UNTOLD):
        yield f"No message about the alert '{alert.title}' was sent."
    sent = services.number("SELECT count(*) FROM alert_attempts WHERE outcome = 'delivered'")
    if sent and not services.slack.posts:
        yield f"{sent} messages are recorded as sent, and Slack got none."


@dataclass(frozen=True)
class TimesToRecovery:
    """Seconds from a worker's death, or from the end of the outage of the database after it, to the requeue."""

    seconds: Sequence[float]
    promise: float

    def __str__(self) -> str:
        if not self.seconds:
            return "time to recovery: no run needed it"
        p99 = (
            quantiles(self.seconds, n=100, method="inclusive")[98]
            if len(self.seconds) > 1
            else self.seconds[0]
        )
        return (
            f"time to recovery of {len(self.seconds)} runs: median {median(self.seconds):.1f} s, p99 {p99:.1f} s, "
            f"worst {max(self.seconds):.1f} s; promised without outages: at most {self.promise:g} s"
        )


def times_to_recovery(services: Services, deaths: Sequence[Death]) -> TimesToRecovery:
    seconds = []
    for death in deaths:
        for event in services.rows(RECOVERED, job_id=death.job_id, epoch=death.epoch):
            outages = [end for _, end in services.restarts if death.at < end < event.at]
            seconds.append(event.at - max([death.at, *outages]))
    return TimesToRecovery(seconds, services.stale_seconds + services.sweep_seconds + 2)
