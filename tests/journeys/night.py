"""One consistent night for the screenshots: the timeline, the alerts, the charts and the audit log agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from unittest.mock import patch

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models import Model
from django.db.models.functions import Now
from django.utils import timezone

from alerts import notify, operator_decisions, rules
from alerts.models import Alert, Rule
from alerts.sending import banner
from jobs.dead_letters import check
from jobs.dead_letters.queue_visit import Visit
from jobs.models import DeadLetter, DeadLetterQueue, Job, JobEvent, Status, Sweep
from jobs.recovery import hung_runs
from jobs.runs.timeline import SWEEP
from jobs.watch import gauges, hourly_counts
from opsconsole import overview
from opsconsole.kit import audit, figures
from ratelimits.records import gauges as limits
from tests import presets
from tests.alerts import clock
from tests.audit_tables import without_triggers
from tests.journeys import letters

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ENDED = {
    Status.COMPLETED: JobEvent.Kind.COMPLETED,
    Status.FAILED: JobEvent.Kind.FAILED,
    Status.CANCELLED: JobEvent.Kind.CANCELLED,
}
# When workers died within the last day, apart from the worker of the stale job's first run.
DIED = [HOUR * hours for hours in (3.2, 8.7, 9.1, 15.4, 15.5)]
DEEPEST = (7, 5, 2, 0, 0, 0, 0, 3, 3, 1) + 14 * (0,)


def build() -> None:
    """Build the night on top of ``scenery.build``; needs user ``olga``, channel ``slack``, ``letters.queues()``."""
    presets.write()
    letters.build()
    _timelines()
    _charts()
    _alerts()
    _audit(User.objects.get(username="olga"))
    overview.memory.clear()


def _timelines() -> None:
    """Record how each job of the last day ended, and which runs were recovered before."""
    now = timezone.now()
    ended = list(Job.objects.filter(completed_at__gte=now - DAY, status__in=ENDED, attempts=0))
    JobEvent.objects.bulk_create(
        JobEvent(
            job=job,
            at=_completed(job),
            kind=ENDED[Status(job.status)],
            run_epoch=1,
            actor=f"worker:{job.worker_id}",
        )
        for job in ended
    )
    for ago in DIED:
        died = min(ended, key=lambda job: abs(_completed(job) - now + ago))
        JobEvent.objects.create(
            job=died,
            at=now - ago,
            kind=JobEvent.Kind.RECOVERED,
            run_epoch=1,
            actor=SWEEP.name,
            reason=f"The heartbeats of worker {died.worker_id} stopped during this run.",
        )
        began = now - ago
        Sweep.objects.create(
            trigger="schedule",
            mode=Sweep.Mode.ARMED,
            started_at=began,
            finished_at=began + timedelta(milliseconds=44),
            found=1,
            requeued=1,
        )
    poison = Job.objects.get(status=Status.QUARANTINED)
    JobEvent.objects.create(
        job=poison,
        at=now - 31 * MINUTE,
        kind=JobEvent.Kind.QUARANTINED,
        run_epoch=4,
        actor=SWEEP.name,
        reason="It lost its worker 4 times.",
    )


def _completed(job: Job) -> datetime:
    assert job.completed_at is not None
    return job.completed_at


def _charts() -> None:
    with patch.object(hourly_counts, "LOOKED_BACK", DAY):
        hourly_counts.count()
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    figures.set_counts(
        ("dead letters", this_hour - back * HOUR, depth)
        for back, depth in zip(count(), DEEPEST, strict=False)
    )


def _alerts() -> None:
    """Create the alerts as the console's watches would, oldest first."""
    banner.memory.clear()
    Rule.objects.bulk_create(rules.all_by_name().values(), ignore_conflicts=True)
    limits.watch()
    clock.move(14 * MINUTE)
    hung_runs.watch()
    clock.move(8 * MINUTE)
    gauges.watch()
    clock.move(5 * MINUTE)
    check.tell(DeadLetterQueue.objects.get(url=letters.DLQ), Visit(depth=7))
    clock.move(4 * MINUTE)
    now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
    operator_decisions.acknowledge(_alert("hung-runs"), "olga", "I have asked who runs maps.")
    operator_decisions.snooze(
        _alert("quarantined_jobs"), now + 8 * HOUR, "olga", "Known; mended with the next release."
    )
    clock.move(2 * MINUTE)
    for name, interval in (
        ("sweep", 2 * MINUTE),
        ("dead letter check (default)", 5 * MINUTE),
        ("reading of queues", MINUTE),
        ("watch of figures", MINUTE),
        ("sender of alerts", MINUTE),
    ):
        notify.monitor_ok(name, interval)


def _alert(fingerprint: str) -> int:
    return int(Alert.objects.open().get(fingerprint=fingerprint).pk)


def _audit(olga: User) -> None:
    now = timezone.now()
    # As if the lines had been written then.
    with without_triggers():
        for ago, row, did, why in _deeds():
            [line] = audit.log(olga, [row], did, why=why)
            LogEntry.objects.filter(pk=line.pk).update(action_time=now - ago)


def _deeds() -> Iterator[tuple[timedelta, Model, str, str]]:
    replayed = DeadLetter.objects.filter(state=DeadLetter.State.REPLAYED).latest("first_seen_at")
    discarded = DeadLetter.objects.filter(state=DeadLetter.State.DISCARDED).latest("first_seen_at")
    yield 50 * MINUTE, discarded, "Discarded.", "the customer has cancelled"
    yield 40 * MINUTE, replayed, "Marked for replay.", "maps answers again"
    yield (
        2 * MINUTE,
        Alert.objects.get(fingerprint="quarantined_jobs"),
        "Snoozed.",
        "Known; mended with the next release.",
    )
    yield (
        2 * MINUTE,
        Alert.objects.get(fingerprint="hung-runs"),
        "Acknowledged.",
        "I have asked who runs maps.",
    )
