"""One consistent night for the screenshots: the timeline, the alerts, the charts and the audit log agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from math import sin
from unittest.mock import patch

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models import Model
from django.db.models.functions import Now
from django.utils import timezone

from alerts import notify, operator_decisions, rules
from alerts.channels.outcome import Outcome
from alerts.models import Alert, Rule
from alerts.notify import Trouble
from alerts.sending import banner
from jobs.dead_letters import check
from jobs.dead_letters.queue_visit import Visit
from jobs.models import (
    DeadLetter,
    DeadLetterQueue,
    Job,
    JobEvent,
    Outbox,
    QueueState,
    RunRollupState,
    Status,
    Sweep,
    WorkerHeartbeat,
)
from jobs.recovery import hung_runs
from jobs.runs.timeline import SWEEP
from jobs.watch import gauges, hourly_counts
from opsconsole import overview
from opsconsole.kit import audit, figures
from opsconsole.seals import sealer
from opsconsole.trends import rollup
from ratelimits.records import gauges as limits
from tests import presets
from tests.alerts import clock
from tests.audit_tables import without_triggers
from tests.journeys import alerting, letters, scenery

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ENDED = {
    Status.COMPLETED: JobEvent.Kind.COMPLETED,
    Status.FAILED: JobEvent.Kind.FAILED,
    Status.CANCELLED: JobEvent.Kind.CANCELLED,
}
STOPPED = "The heartbeats of worker {} stopped during this run."
# When workers died within the last day, apart from the worker of the stale job's first run.
DIED = [HOUR * hours for hours in (3.2, 8.7, 9.1, 15.4, 15.5)]
# In each hour, the current one first: one letter fails about every hour, and is discarded minutes later.
DEEPEST = (7, 7, 1, 1, 0, 1, 1, 1, 1, 0) + 7 * (1, 0)


def build() -> None:
    """Build the night on top of ``scenery.build``; needs user ``olga``, channel ``slack``, ``letters.queues()``."""
    presets.write()
    letters.build()
    _timelines()
    _charts()
    _alerts()
    _audit(User.objects.get(username="olga"))
    trends()
    overview.memory.clear()


def _timelines() -> None:
    """Record what each job without a timeline did: the recovered and the quarantined ones first, then all others."""
    now = timezone.now()
    events = [*_poison(now), *(event for ago in DIED for event in _died(now - ago, now))]
    without = Job.objects.exclude(pk__in=JobEvent.objects.values("job_id"))
    for job in without.exclude(pk__in=[event.job_id for event in events]).iterator():
        events += _plain_run(job)
    JobEvent.objects.bulk_create(sorted(events, key=lambda event: event.at), batch_size=2_000)


def _event(job: Job, at: datetime, kind: str, actor: str, run: int = 1, reason: str = "") -> JobEvent:
    return JobEvent(job=job, at=at, kind=kind, run_epoch=run, actor=actor, reason=reason)


def _plain_run(job: Job) -> Iterator[JobEvent]:
    """Yield the events of a job that had one run at most."""
    worker = f"worker:{job.worker_id}"
    yield _event(job, job.created_at, JobEvent.Kind.ENQUEUED, "console")
    if job.started_at:
        yield _event(job, job.started_at, JobEvent.Kind.CLAIMED, worker)
    if job.completed_at and job.status in ENDED:
        cancelled = job.status == Status.CANCELLED
        actor = "operator:olga" if cancelled else worker
        reason = "the customer has cancelled" if cancelled else job.error_message or ""
        yield _event(job, job.completed_at, ENDED[Status(job.status)], actor, reason=reason)


def _died(at: datetime, now: datetime) -> list[JobEvent]:
    """Let the job that completed nearest to this time lose its first worker then, and complete in its second run."""
    completed = Job.objects.filter(status=Status.COMPLETED, recovery_count=0, completed_at__lt=at)
    job = completed.latest("completed_at")
    job.run_epoch = job.claimed_epoch = 2
    job.recovery_count = 1
    job.created_at, job.started_at = at - 20 * MINUTE, at + MINUTE
    job.updated_at = job.completed_at = at + 5 * MINUTE
    job.save()
    dead, kind = "worker-6b@host-1", JobEvent.Kind
    Sweep.objects.create(
        trigger="schedule",
        mode=Sweep.Mode.ARMED,
        started_at=at,
        finished_at=at + timedelta(milliseconds=44),
        found=1,
        requeued=1,
    )
    return [
        _event(job, at - 20 * MINUTE, kind.ENQUEUED, "console"),
        _event(job, at - 19 * MINUTE, kind.CLAIMED, f"worker:{dead}"),
        _event(job, at, kind.RECOVERED, SWEEP.name, reason=STOPPED.format(dead)),
        _event(job, at + MINUTE, kind.CLAIMED, f"worker:{job.worker_id}", 2),
        _event(job, at + 5 * MINUTE, kind.COMPLETED, f"worker:{job.worker_id}", 2),
    ]


def _poison(now: datetime) -> Iterator[JobEvent]:
    """Yield how the job in quarantine lost four workers."""
    job, kind = Job.objects.get(status=Status.QUARANTINED), JobEvent.Kind
    yield _event(job, job.created_at, kind.ENQUEUED, "console")
    claimed = job.created_at + MINUTE
    ends = [now - ago * MINUTE for ago in sorted(scenery.RECOVERED[1:], reverse=True)]
    for run, at in enumerate(ends, 1):
        worker = f"worker-{run}d@host-{run % 3}"
        yield _event(job, claimed, kind.CLAIMED, f"worker:{worker}", run)
        yield _event(job, at, kind.RECOVERED, SWEEP.name, run, STOPPED.format(worker))
        claimed = at + MINUTE
    yield _event(job, claimed, kind.CLAIMED, "worker:worker-4d@host-1", 4)
    at = now - scenery.QUARANTINED * MINUTE
    yield _event(job, at, kind.QUARANTINED, SWEEP.name, 4, "It lost its worker 4 times.")


def trends() -> None:
    """Count the runs of the timelines, as the cluster does."""
    sealer.seal()
    rollup.count()
    # The scenery does not write its events in their order.
    RunRollupState.objects.update(counted_from=JobEvent.objects.earliest("at").at)


def keep_alive() -> None:
    """Let what goes on go on: workers beat, messages are sent, sweeps and checks run, the queue is read."""
    alive = WorkerHeartbeat.objects.exclude(worker_id__in=("worker-7f3a@host-2", "worker-4e@host-1"))
    alive.update(last_heartbeat=Now() - timedelta(seconds=4))
    Outbox.objects.filter(state=Outbox.State.WAITING).update(created_at=Now(), available_at=Now())
    newest = Sweep.objects.filter(pk=Sweep.objects.latest("started_at").pk)
    newest.update(started_at=Now() - MINUTE, finished_at=Now() - MINUTE + timedelta(milliseconds=38))
    QueueState.objects.update(read_at=Now() - timedelta(seconds=25), checked_at=Now() - timedelta(seconds=25))
    checked = Now() - 2 * MINUTE
    DeadLetterQueue.objects.update(scanned_at=checked, read_at=checked, checked_at=checked)
    Alert.objects.open().update(last_seen_at=checked)
    _report_monitors()
    overview.memory.clear()


def _charts() -> None:
    with patch.object(hourly_counts, "LOOKED_BACK", 2 * DAY):
        hourly_counts.count()
    this_hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for name, least in ((hourly_counts.WAITING, 9), (hourly_counts.RUNNING, 6)):
        figures.set_counts(
            (name, this_hour - back * HOUR, int(least + 4 * sin(back / 3))) for back in range(1, 48)
        )
    figures.set_counts(
        ("dead letters", this_hour - back * HOUR, depth)
        for back, depth in zip(count(), DEEPEST, strict=False)
    )


def _alerts() -> None:
    """Create the alerts as the console's watches would, oldest first, and tell each."""
    banner.memory.clear()
    Rule.objects.bulk_create(rules.all_by_name().values(), ignore_conflicts=True)
    dlq = DeadLetterQueue.objects.get(url=letters.DLQ)
    waiting = Trouble(title="3 jobs wait and no worker is alive")
    notify.measure("no_live_worker", 3, waiting)
    alerting.told("200 ok", Outcome.DELIVERED)
    clock.move(6 * MINUTE)
    notify.resolve("no_live_worker")
    alerting.told("200 ok", Outcome.DELIVERED)
    clock.move(130 * MINUTE)
    first = Trouble(title="SQS counts 5 dead letters (default)")
    notify.measure("dlq_not_empty", 5, first, scope=str(dlq))
    alerting.told("200 ok", Outcome.DELIVERED)
    clock.move(23 * MINUTE)
    limits.watch()
    alerting.told("200 ok", Outcome.DELIVERED)
    gauges.watch()
    alerting.told("200 ok", Outcome.DELIVERED)
    clock.move(13 * MINUTE)
    hung_runs.watch()
    alerting.told("200 ok", Outcome.DELIVERED)
    clock.move(9 * MINUTE)
    check.tell(dlq, Visit(depth=7))
    alerting.told("200 ok", Outcome.DELIVERED)
    now: datetime = Alert.objects.values_list(Now(), flat=True)[0]
    operator_decisions.acknowledge(_alert("hung-runs"), "olga", "I have asked who runs maps.")
    operator_decisions.snooze(
        _alert("quarantined_jobs"), now + 8 * HOUR, "olga", "Known; mended with the next release."
    )
    check.tell(dlq, Visit(depth=7))
    clock.move(2 * MINUTE)
    for watch in (limits.watch, gauges.watch, hung_runs.watch):
        watch()
    # The check that found the first letters saw this one before it counted them.
    counted = Alert.objects.open().get(rule="dlq_not_empty").since
    Alert.objects.open().filter(rule="dead_letters_expiring").update(since=counted - timedelta(seconds=1))
    _report_monitors()


def _report_monitors() -> None:
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
    yield 50 * MINUTE, discarded, "Discarded.", discarded.attempts.get(action="discard").reason
    yield 15 * MINUTE, replayed, "Marked for replay.", "maps answers again"
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
