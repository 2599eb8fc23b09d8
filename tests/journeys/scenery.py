"""A morning of jobs for the journeys and the screenshots: mostly healthy, with one case of each problem."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle
from math import sin
from typing import Any
from uuid import UUID, uuid4

from axes.models import AccessAttempt
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from alerts import notify
from alerts.models import DeadManPing, SnsMessage
from alerts.watch import monitor_alerts
from jobs.bulk import chunks, freezing
from jobs.bulk.registry import kind_of
from jobs.models import (
    BulkEvent,
    BulkOperation,
    Job,
    JobEvent,
    Outbox,
    QueueState,
    RecoveryControl,
    Status,
    Sweep,
    WorkerHeartbeat,
)
from jobs.runs.timeline import Actor
from opsconsole import overview
from opsconsole.kit import actors
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey, RateLimitHour, RateLimitRequest
from ratelimits.models.hour import hash_key

MINUTE = timedelta(minutes=1)
# Minutes ago: the sweeps that recovered the stale job's first run and the first three runs of the job in quarantine, and the one
# that quarantined that job.
RECOVERED, QUARANTINED = (37, 49, 65, 81), 31
# How long the worker of the stale job has been silent: since the last sweep it is longer than the threshold.
SILENT_SECONDS = 630
ERROR = "ValueError: the business has no address"
PRIORITIES = ("starter", "growth", "professional", "enterprise")
# The id is fixed, so that tests and screenshots can name it.
STALE_JOB = UUID("5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901")


def build(jobs: int = 2_000) -> None:
    """Fill an empty database, which also lacks the rows that migrations create."""
    overview.memory.clear()
    RecoveryControl.objects.update_or_create(pk=1, defaults={"mode": RecoveryControl.Mode.ARMED})
    _queues()
    _workers()
    ended_jobs(range(jobs))
    _other_ends()
    _running_jobs()
    _waiting_jobs()
    stale_job()
    _sweeps()
    _limits()


def stale_job() -> Job:
    """Create a job in its second run, whose worker died after two directories. Since the last sweep it is stale."""
    worker = _worker(
        "worker-7f3a@host-2", silent=timedelta(seconds=SILENT_SECONDS), job_id=STALE_JOB, epoch=2, pid=4411
    )
    Job.objects.bulk_create(
        [
            _job(
                0,
                id=STALE_JOB,
                customer_id="CUST-04218",
                priority_level="professional",
                status=Status.IN_PROGRESS,
                run_epoch=2,
                claimed_epoch=2,
                recovery_count=1,
                worker_id=worker.pk,
                payload={"business": "Café Blüte & Söhne", "directories": ["maps", "pages", "locals"]},
                created_at=Now() - 52 * MINUTE,
                started_at=Now() - 36 * MINUTE,
                updated_at=Now() - 36 * MINUTE,
            )
        ]
    )
    _events(
        (52, "enqueued", 1, "console", "", {}),
        (51, "claimed", 1, "worker:worker-11b0@host-1", "", {}),
        (
            49,
            "progress",
            1,
            "worker:worker-11b0@host-1",
            "",
            {"note": "looked up the customer's entry", "reference": "maps/8790-02"},
        ),
        (
            37,
            "recovered",
            1,
            "sweep",
            "The heartbeats of worker worker-11b0@host-1 stopped during this run.",
            {},
        ),
        (36, "claimed", 2, f"worker:{worker.pk}", "", {}),
        (
            29,
            "progress",
            2,
            f"worker:{worker.pk}",
            "",
            {"note": "submitted to maps", "reference": "maps/8812-44"},
        ),
        (
            12,
            "progress",
            2,
            f"worker:{worker.pk}",
            "",
            {"note": "submitted to pages", "reference": "pages/A-77310"},
        ),
    )
    for epoch, ago, reason in ((1, 52, ""), (2, 37, "stale_job_recovery")):
        Outbox.objects.create(
            job_id=STALE_JOB,
            run_epoch=epoch,
            state=Outbox.State.SENT,
            attempts=1,
            reason=reason,
            retry=epoch > 1,
            created_at=Now() - ago * MINUTE,
            sent_at=Now() - ago * MINUTE + timedelta(seconds=1),
            message_id=f"0f3c{epoch}b7e-5a1d",
        )
    return Job.objects.get(pk=STALE_JOB)


def job_that_waits_in_vain() -> Job:
    """Create a job whose message was resent three times and that no worker claims."""
    [made] = Job.objects.bulk_create(
        [_job(5, created_at=Now() - 300 * MINUTE, updated_at=Now() - 300 * MINUTE)]
    )
    Outbox.objects.create(
        job_id=made.pk,
        run_epoch=1,
        state=Outbox.State.SENT,
        attempts=1,
        resends=3,
        created_at=Now() - 300 * MINUTE,
        sent_at=Now() - 45 * MINUTE,
    )
    return made


def bulk_operations(owner: str = "operator:olga") -> dict[str, int]:
    """Create one operation in each state, with members of each outcome; the jobs stay unchanged."""
    state = BulkOperation.State
    states = (state.ENDED, state.STOPPED, state.CANCELLED, state.RUNNING, state.PREVIEW)
    jobs = list(Job.objects.order_by("status", "pk").values_list("pk", flat=True))
    # No two of them share a job, unless there are too few jobs that can be requeued.
    apart = len(jobs) > 1_000
    return {
        each.value: _bulk_operation(owner, each, jobs[place :: len(states)] if apart else jobs)
        for place, each in enumerate(states)
    }


def _bulk_operation(owner: str, state: BulkOperation.State, jobs: list[UUID]) -> int:
    chosen = Job.objects.filter(pk__in=jobs)
    operation = freezing.freeze(kind_of("requeue"), chosen, Actor(owner), scope="all rows of the list")
    if state == BulkOperation.State.PREVIEW:
        return operation.pk
    failed = 0 if state == BulkOperation.State.ENDED else 1
    # One waits at least, unless all is done.
    done = operation.will if state == BulkOperation.State.ENDED else min(9, operation.will - failed - 1)
    skipped = operation.members.filter(will=False)
    skipped.update(outcome="skipped", settled_at=Now())
    will = _six_failed_first(operation)
    operation.members.filter(id__in=will[:done]).update(
        outcome="done", settled_at=Now(), sentence="Queued for run 2."
    )
    operation.members.filter(id__in=will[done : done + failed]).update(
        outcome="failed", sentence="The database refused it, nothing was changed: check violated"
    )
    sentences = {
        BulkOperation.State.CANCELLED: f"Stopped by {actors.in_words(owner)}: wrong customers",
        BulkOperation.State.STOPPED: "Stopped automatically: 6 of the first 10 failed again. "
        "Find out why before you resume. The waiting members were not changed.",
    }
    BulkOperation.objects.filter(pk=operation.pk).update(
        state=state,
        sentence=sentences.get(state, ""),
        reason="the directory is back",
        begun_at=Now() - 3 * MINUTE,
        ended_at=None if state == BulkOperation.State.RUNNING else Now() - MINUTE,
        done=done,
        failed=failed,
        skipped=operation.total - operation.will,
        # Due only later, so that no process runs it during the test.
        due_at=Now() + 60 * MINUTE,
    )
    kind, event = BulkEvent.Kind, BulkEvent.objects.create
    event(
        operation=operation,
        at=Now() - 3 * MINUTE,
        kind=kind.BEGUN,
        actor=owner,
        reason="the directory is back",
    )
    ends = {
        BulkOperation.State.ENDED: (kind.ENDED, chunks.BY_ITSELF, ""),
        BulkOperation.State.STOPPED: (kind.STOPPED, chunks.BY_ITSELF, sentences[BulkOperation.State.STOPPED]),
        BulkOperation.State.CANCELLED: (kind.CANCELLED, owner, "wrong customers"),
    }
    if state in ends:
        ended_as, by, why = ends[state]
        event(operation=operation, at=Now() - MINUTE, kind=ended_as, actor=by, reason=why)
    return operation.pk


def _six_failed_first(operation: BulkOperation) -> list[int]:
    """Return the members that will be done: six of the first ten of them are jobs that have failed."""
    members = operation.members.filter(will=True).order_by("id").values_list("id", "subject")
    lost = {str(pk) for pk in Job.objects.filter(status=Status.FAILED).values_list("pk", flat=True)}
    failed = [pk for pk, job in members if job in lost]
    others = [pk for pk, job in members if job not in lost]
    return failed[:6] + others[:4] + failed[6:] + others[4:]


def _events(*events: tuple[int, str, int, str, str, dict[str, Any]]) -> None:
    JobEvent.objects.bulk_create(
        JobEvent(
            job_id=STALE_JOB,
            at=Now() - ago * MINUTE,
            kind=kind,
            run_epoch=epoch,
            actor=actor,
            reason=reason,
            details=details,
        )
        for ago, kind, epoch, actor, reason, details in events
    )


def _job(number: int, **fields: Any) -> Job:
    plain = {
        "customer_id": f"CUST-{(417 + number * 1_009) % 9_973:05}",
        "package_size": 50,
        "priority_level": PRIORITIES[number % 4],
    }
    return Job(**plain | fields)


ENDED = """
COPY jobs (customer_id, package_size, priority_level, status, error_message, claimed_epoch, worker_id, created_at, started_at,
           updated_at, completed_at) FROM STDIN
"""


def ended_jobs(numbers: range) -> None:
    """Create about one ended job per minute, with varying load: the higher its number, the longer ago."""
    now = timezone.now()
    statuses = cycle([Status.COMPLETED] * 40 + [Status.FAILED] + [Status.COMPLETED] * 30 + [Status.CANCELLED])
    # Django takes a second for thousands of rows, and many tests begin with this.
    with connection.cursor() as cursor, cursor.copy(ENDED) as rows:
        for number in numbers:
            plain = _job(number)
            status = next(statuses)
            created = now - (7 + number + 36 * sin(number / 90)) * MINUTE
            started = created + timedelta(seconds=15 + number * 17 % 60)
            ended = started + timedelta(seconds=120 + number * 37 % 200)
            rows.write_row(
                (
                    plain.customer_id,
                    plain.package_size,
                    plain.priority_level,
                    status.value,
                    ERROR if status == Status.FAILED else None,
                    1,
                    f"worker-{number % 6}a@host-{number % 3}",
                    created,
                    started,
                    ended,
                    ended,
                )
            )


def _other_ends() -> None:
    poison = _job(8, status=Status.QUARANTINED, run_epoch=4, claimed_epoch=4, recovery_count=3)
    poison.created_at = Now() - 95 * MINUTE
    poison.updated_at = Now() - QUARANTINED * MINUTE
    Job.objects.bulk_create([poison, _job(9, status="archived", created_at=Now() - 99 * MINUTE)])


def _running_jobs() -> None:
    for number in range(6):
        job = _job(
            number,
            status=Status.IN_PROGRESS,
            claimed_epoch=1,
            worker_id=f"worker-{number}a@host-{number % 3}",
            created_at=Now() - (2 + 2 * number) * MINUTE,
            started_at=Now() - (number + 1) * MINUTE,
            updated_at=Now() - (number + 1) * MINUTE,
        )
        Job.objects.bulk_create([job])
        _worker(
            f"worker-{number}a@host-{number % 3}",
            silent=timedelta(seconds=2 * number),
            job_id=job.pk,
            epoch=1,
        )
    hung = _job(7, status=Status.IN_PROGRESS, claimed_epoch=1, worker_id="worker-9c@host-0")
    hung.created_at = hung.started_at = hung.updated_at = Now() - 77 * MINUTE
    Job.objects.bulk_create([hung])
    _worker("worker-9c@host-0", silent=timedelta(seconds=4), job_id=hung.pk, epoch=1)


def _waiting_jobs() -> None:
    ages = [number * timedelta(seconds=10) for number in range(14)]
    waiting = [
        _job(number, created_at=Now() - ago, updated_at=Now() - ago) for number, ago in enumerate(ages)
    ]
    Job.objects.bulk_create(waiting)
    JobEvent.objects.bulk_create(
        JobEvent(job_id=job.pk, kind="enqueued", run_epoch=1, actor="console") for job in waiting
    )
    first, *others = waiting
    Outbox.objects.create(job_id=first.pk, run_epoch=1, queue="default")
    Outbox.objects.bulk_create(
        Outbox(
            job_id=job.pk,
            run_epoch=1,
            queue="default",
            state=Outbox.State.SENT,
            attempts=1,
            created_at=Now() - ago,
            sent_at=Now() - ago + timedelta(seconds=1),
            message_id=f"5c1e{number:02}aa-77d0",
        )
        for number, (job, ago) in enumerate(zip(others, ages[1:], strict=True))
    )


def _worker(
    name: str, *, silent: timedelta, job_id: UUID | None = None, epoch: int | None = None, pid: int = 2_100
) -> WorkerHeartbeat:
    return WorkerHeartbeat.objects.create(
        worker_id=name,
        current_job_id=job_id,
        current_run_epoch=epoch,
        last_heartbeat=Now() - silent,
        started_at=Now() - 190 * MINUTE,
        hostname=name.partition("@")[2],
        pid=pid,
        metadata={"protocol": 1},
    )


def _workers() -> None:
    _worker("worker-3d@host-1", silent=timedelta(seconds=8))
    _worker("worker-4e@host-1", silent=3 * MINUTE)
    WorkerHeartbeat.objects.create(
        worker_id="legacy-node-01", last_heartbeat=Now() - timedelta(seconds=20), current_job_id=None
    )


def _queues() -> None:
    QueueState.objects.create(
        name="default",
        # All that wait but the newest, whose message is not sent yet. Those that run have taken theirs away.
        visible=13,
        in_flight=0,
        delayed=0,
        visibility_timeout_seconds=300,
        read_at=Now() - timedelta(seconds=25),
        checked_at=Now() - timedelta(seconds=25),
    )


def _sweeps() -> None:
    Sweep.objects.bulk_create(
        Sweep(
            trigger="schedule",
            mode=Sweep.Mode.ARMED,
            started_at=Now() - number * 2 * MINUTE - MINUTE,
            finished_at=Now() - number * 2 * MINUTE - MINUTE + timedelta(milliseconds=38 + number),
            found=int(ago in RECOVERED or ago == QUARANTINED),
            requeued=int(ago in RECOVERED),
            quarantined=int(ago == QUARANTINED),
        )
        for number in range(60)
        for ago in [number * 2 + 1]
    )
    notify.monitor_ok(monitor_alerts.SWEEP, timedelta(minutes=2))


def outside() -> None:
    """Create alarms received from Amazon, and the pings to an external monitor."""
    SnsMessage.objects.create(
        message_id="1",
        kind="Notification",
        topic="arn:aws:sns:eu-west-1:123456789012:alarms",
        about="sns:dlq-not-empty",
        happened_at=Now() - 2 * MINUTE,
        effect="The alert fired.",
    )
    DeadManPing.objects.create(
        name="sweep", reported=Now(), pinged_at=Now(), ok_at=Now() - MINUTE, answer="200 OK"
    )


def _limits() -> None:
    """Create a noisy client, a quiet one, another service's, and two API keys, over the last day."""
    for name in ("shop, production", "crm"):
        api_keys.create(
            key_id=uuid4(),
            name=name,
            scopes=["jobs:write", "limits:check"],
            policy="api-key",
            expires_at=None,
            by="olga",
            reason="it goes live",
        )
    shop = f"key:{ApiKey.objects.get(name='shop, production').pk}"
    noisy, calm, theirs = "address:203.0.113.7", "address:198.51.100.20", "check:address:192.0.2.44"
    routes = ["GET /api/queue/<anything:customer_id>", "POST /api/jobs", "POST (another service)"]
    now = timezone.now()
    RateLimitRequest.objects.bulk_create(
        RateLimitRequest(
            key=key,
            method=routes[route].split()[0],
            endpoint=routes[route].partition(" ")[2],
            policy=policy,
            outcome=outcome,
            hits=hits + minute % 7,
            created_at=now - minute * MINUTE,
        )
        # The minutes of this hour and the one before are not yet summed up per hour.
        for minute in range(0, 60 + now.minute, 3)
        for key, route, policy, outcome, hits in (
            (noisy, 0, "standard", "allowed", 100),
            (noisy, 0, "standard", "limited", 40 if minute < 20 else 4),
            (calm, 0, "standard", "allowed", 9),
            (shop, 1, "api-key", "allowed", 31),
            (theirs, 2, "relaxed", "shadow", 3),
        )
    )
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    hashes = {key: hash_key(key) for key in (noisy, calm)}
    RateLimitHour.objects.bulk_create(
        RateLimitHour(
            hour=hour - ago * 60 * MINUTE,
            policy="standard",
            key_hash=hashes[key],
            endpoint="/api/queue/<anything:customer_id>",
            method="GET",
            outcome=outcome,
            hits=hits,
        )
        for ago in range(2, 7 * 24)
        for key, outcome, hits in (
            (noisy, "allowed", int(2_400 + 900 * sin(ago / 3.8))),
            (noisy, "limited", 250 if ago % 11 == 2 else 12),
            (calm, "allowed", 400 - ago),
        )
    )
    AccessAttempt.objects.create(
        username="olga",
        ip_address="203.0.113.7",
        user_agent="Password, unknown browser",
        failures_since_start=5,
        path_info="/admin/login/",
    )
