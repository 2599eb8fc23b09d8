"""Dead letters for the journeys and the screenshots: in each state, in groups, with their ledger."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from jobs.models import DeadLetter, DeadLetterQueue, FailureGroup, Job, JobEvent, ReplayAttempt, Status
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.factories import DAY, dead_letter

MINUTE = timedelta(minutes=1)
WORKER = "worker-2a@host-2"
DLQ = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs-dlq"
# The ids are fixed, so that tests and screenshots can name them.
CAME_BACK = UUID("8d4e07b1-3c56-4f0a-9b7d-52c0f1ae6d13")
FOREIGN = UUID("c1f7a9e4-0b2d-4a63-8e15-7f90d2b4c358")
ERRORS = {
    "maps": 'TimeoutError: "…" did not answer in <n> s',
    "address": "ValueError: the business has no address",
}
State = DeadLetter.State


def queues() -> dict[str, QueueConfig]:
    """Return settings for a queue with a dead letter queue, at a URL where no server listens."""
    return {"default": QueueConfig("default", "http://127.0.0.1:9/queue", DLQ)}


def build() -> None:
    factories.dead_letter_queue(
        url=DLQ,
        visible=7,
        seen=7,
        about=7,
        full=True,
        scanned_at=Now() - 2 * MINUTE,
        read_at=Now() - 2 * MINUTE,
        checked_at=Now() - 2 * MINUTE,
    )
    maps, address = (_group(error, _seen(ago)) for error, ago in zip(ERRORS.values(), (4, 37), strict=True))
    maps.note = "Its gateway is restarted on Wednesdays at 02:30. Replay once it answers."
    maps.save()
    _came_back(maps)
    for number, ago in ((311, 4), (87, 6), (152, 9)):
        _letter(_failed_job(number, "TimeoutError: 'maps' did not answer in 30 s", ago), maps, ago)
    _letter(_failed_job(17, "ValueError: the business has no address", 37), address, 37)
    _decided(address)
    _foreign()
    _of_the_days_before(address)


def of_each_state() -> dict[str, UUID]:
    """Create one letter in each state."""
    return dict(DeadLetter.objects.order_by("-first_seen_at").values_list("state", "pk"))


def job_of(letter: UUID) -> UUID:
    job_id = DeadLetter.objects.get(pk=letter).job_id
    assert job_id is not None
    return job_id


def _came_back(group: FailureGroup) -> None:
    """Create a letter that was replayed a quarter of an hour ago and failed again."""
    error, worker = "TimeoutError: 'maps' did not answer in 30 s", f"worker:{WORKER}"
    between = (
        ("claimed", 45, 2, worker, ""),
        ("failed", 44, 2, worker, error),
        ("requeued", 4, 3, "operator:olga", "maps answers again"),
    )
    job = _failed_job(204, error, 11, 3, between)
    first = _letter(job, group, 55, run_epoch=2, state=State.REPLAYED)
    _letter(job, group, 11, id=CAME_BACK, returned_from=first, returns=1)
    replayed = _ledger(first, "replay", "done", "maps answers again", 15, job_epoch=3)
    ReplayAttempt.objects.filter(pk=replayed.pk).update(
        sent_at=F("wanted_at") + timedelta(seconds=1),
        deleted_at=F("wanted_at") + timedelta(seconds=2),
        ended_at=F("wanted_at") + timedelta(seconds=2),
        outcome="Its job waits for run 3.",
    )


def _decided(group: FailureGroup) -> None:
    """Create letters with a decision whose replay or deletion is pending or failed."""
    for number, state in enumerate((State.REPLAYING, State.OUTCOME_UNKNOWN, State.DISCARDED, State.KEPT)):
        letter = _letter(_failed_job(40 + number, "ValueError: the business has no address", 58), group, 58)
        DeadLetter.objects.filter(pk=letter.pk).update(state=state)
        if state == State.REPLAYING:
            _ledger(letter, "replay", "wanted", "the address was added", 1)
        elif state == State.OUTCOME_UNKNOWN:
            _ledger(letter, "replay", "unknown", "the address was added", 30, sending_at=Now() - 30 * MINUTE)
        else:
            _ledger(letter, "discard", "done", "the customer has cancelled", 50, ended_at=Now() - 50 * MINUTE)
        if state == State.KEPT:
            _ledger(letter, "restore", "done", "wrong customer", 45, ended_at=Now() - 45 * MINUTE)
    _letter(None, group, 70, state=State.GONE)


def _of_the_days_before(group: FailureGroup) -> None:
    """Create the letters of the other jobs that failed for good, which somebody has discarded."""
    for job in Job.objects.filter(status=Status.FAILED, dead_letters=None).exclude(completed_at=None):
        failed = job.completed_at
        assert failed is not None
        letter = dead_letter(
            job,
            dlq=DeadLetterQueue.objects.get(url=DLQ),
            group=group,
            body=_body(job, job.run_epoch),
            state=State.DISCARDED,
            sent_at=failed,
            expires_at=failed + 4 * DAY,
            first_seen_at=failed + 2 * MINUTE,
            last_seen_at=failed + 7 * MINUTE,
            receive_count=3,
            views=2,
        )
        ReplayAttempt.objects.create(
            letter=letter,
            action="discard",
            state="done",
            actor="operator:olga",
            reason="the shop orders it again, with an address",
            wanted_at=failed + 9 * MINUTE,
            ended_at=failed + 9 * MINUTE,
        )


def _foreign() -> None:
    """Create a letter of no known job, in its own group: it was sent days ago, and workers gave up on it an hour ago."""
    dead_letter(
        id=FOREIGN,
        age=3.4 * DAY,
        dlq=DeadLetterQueue.objects.get(url=DLQ),
        body='{"order": 4218, "business": "Café Blüte & <b>Söhne</b>", "e_mail": "info@bluete.example"}',
        attributes={"trace": {"type": "String", "value": "1-67a9-5f20"}},
        system_attributes={"ApproximateReceiveCount": "4", "SenderId": "AIDAEXAMPLE"},
        group=factories.failure_group(
            "A JSON object with business, e_mail, order",
            kind=FailureGroup.Kind.SHAPE,
            first_seen_at=Now() - 57 * MINUTE,
            last_seen_at=Now() - 57 * MINUTE,
        ),
        first_seen_at=Now() - 57 * MINUTE,
        receive_count=4,
        views=2,
    )


def _group(title: str, ago: int) -> FailureGroup:
    return factories.failure_group(title, first_seen_at=Now() - 6 * DAY, last_seen_at=Now() - ago * MINUTE)


def _failed_job(
    number: int,
    error: str,
    ago: int,
    epoch: int = 2,
    between: tuple[tuple[str, int, int, str, str], ...] = (),
) -> Job:
    """Create a job that failed for good, after a first run that was tried again."""
    worker = f"worker:{WORKER}"
    first = max((before for _, before, *_ in between), default=1)
    job = factories.job(
        customer_id=f"CUST-{number:05}",
        priority_level="growth",
        status=Status.FAILED,
        run_epoch=epoch,
        claimed_epoch=epoch,
        attempts=epoch,
        error_message=error,
        worker_id=WORKER,
        created_at=Now() - (ago + first + 5) * MINUTE,
        started_at=Now() - (ago + 1) * MINUTE,
        updated_at=Now() - ago * MINUTE,
        completed_at=Now() - ago * MINUTE,
    )
    for kind, before, run, actor, reason in (
        ("enqueued", first + 5, 1, "console", ""),
        ("claimed", first + 4, 1, worker, ""),
        ("retry_scheduled", first + 3, 1, worker, error),
        *between,
        ("claimed", 1, epoch, worker, ""),
        ("failed", 0, epoch, worker, error),
    ):
        JobEvent.objects.create(
            job=job, at=Now() - (ago + before) * MINUTE, kind=kind, run_epoch=run, actor=actor, reason=reason
        )
    return job


def _seen(ago: int) -> int:
    """Return how long ago a check saw first what was sent then. The last check was two minutes ago; one runs every five."""
    return max(2, ago - (ago - 2) % 5)


def _letter(of: Job | None, group: FailureGroup, ago: int, **fields: Any) -> DeadLetter:
    seen = {"first_seen_at": Now() - _seen(ago) * MINUTE, "last_seen_at": Now() - 2 * MINUTE}
    if of:
        fields["body"] = _body(of, fields.get("run_epoch", of.run_epoch))
    dlq = DeadLetterQueue.objects.get(url=DLQ)
    return dead_letter(of, age=ago * MINUTE, group=group, dlq=dlq, views=2, **seen | fields)


def _body(job: Job, epoch: int) -> str:
    message = {
        "job_id": str(job.pk),
        "customer_id": job.customer_id,
        "package_size": job.package_size,
        "priority": job.priority_level,
        "retry": epoch > 1,
        "reason": "",
        "run_epoch": epoch,
    }
    return json.dumps(message)


def _ledger(
    letter: DeadLetter, action: str, state: str, reason: str, ago: int, **fields: Any
) -> ReplayAttempt:
    return ReplayAttempt.objects.create(
        letter=letter,
        action=action,
        state=state,
        actor="operator:olga",
        reason=reason,
        wanted_at=Now() - ago * MINUTE,
        **fields,
    )
