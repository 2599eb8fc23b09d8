"""Rows for tests, as other systems would have written them; ages are relative to the database's clock."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models.functions import Now

from jobs.models import (
    DeadLetter,
    DeadLetterQueue,
    FailureGroup,
    Job,
    Outbox,
    RecoveryControl,
    Status,
    WorkerHeartbeat,
    WorkerObservation,
)

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def job(**fields: Any) -> Job:
    """Create a pending job and read it back."""
    made = Job.objects.create(**{"customer_id": "TEST-001", "package_size": 50} | fields)
    return Job.objects.get(pk=made.pk)


def run(
    *,
    age: timedelta = timedelta(0),
    silent: timedelta | None = None,
    worker: str = "worker-1",
    epoch: int = 1,
    claimed: bool = True,
    **fields: Any,
) -> Job:
    """Create a run that began ``age`` ago; its worker's last heartbeat was ``silent`` ago (None: never)."""
    made = job(
        status=Status.IN_PROGRESS,
        run_epoch=epoch,
        claimed_epoch=epoch if claimed else None,
        worker_id=worker if claimed else None,
        started_at=Now() - age,
        updated_at=Now() - age,
        **fields,
    )
    if silent is not None:
        beat(worker, made.pk, epoch if claimed else None, ago=silent)
    return made


def beat(
    worker: str, job_id: UUID | None = None, epoch: int | None = None, *, ago: timedelta = timedelta(0)
) -> None:
    """Create the row of a worker whose last heartbeat was ``ago``; with an epoch it uses the current protocol."""
    WorkerHeartbeat.objects.update_or_create(
        worker_id=worker,
        defaults={
            "current_job_id": job_id,
            "current_run_epoch": epoch,
            "last_heartbeat": Now() - ago,
            "metadata": {"protocol": 1} if epoch else {},
        },
    )


def forget_looks() -> None:
    """Forget the console's looks at heartbeats: a test that moves heartbeats into the past would seem to have a wrong clock."""
    WorkerObservation.objects.all().delete()
    RecoveryControl.objects.update(beats_looked_at=None)


def letter(of: Job, *, due: timedelta = timedelta(0), **fields: Any) -> Outbox:
    """Create the outbox row of a job's current run, due since ``due`` ago."""
    about = {"job": of, "run_epoch": of.run_epoch, "queue": of.queue, "available_at": Now() - due}
    if fields.get("destination") == Outbox.Destination.DLQ:
        about["dead_letter_id"] = uuid4()
    made = Outbox.objects.create(**about | fields)
    return Outbox.objects.get(pk=made.pk)


def dead_letter_queue(queue: str = "default", **fields: Any) -> DeadLetterQueue:
    """Create the state of a dead letter queue: four days of retention, read a moment ago."""
    known = {
        "queues": [queue],
        "visible": 0,
        "in_flight": 0,
        "delayed": 0,
        "retention_seconds": 345_600,
        "read_at": Now(),
        "checked_at": Now(),
    }
    url = fields.pop("url", f"https://sqs.us-east-1.amazonaws.com/123456789012/{queue}-dlq")
    made, _ = DeadLetterQueue.objects.update_or_create(url=url, defaults=known | fields)
    return made


def failure_group(
    title: str = "ConnectionError: the directory did not answer", **fields: Any
) -> FailureGroup:
    known = {"kind": FailureGroup.Kind.JOB_ERROR, "title": title}
    made, _ = FailureGroup.objects.get_or_create(fingerprint=title, defaults=known | fields)
    return made


def dead_letter(of: Job | None = None, *, age: timedelta = timedelta(0), **fields: Any) -> DeadLetter:
    """Create a letter in its queue that was sent ``age`` ago, of this job or of an unknown one."""
    body = fields.pop("body", None)
    if body is None:
        message = {"job_id": str(of.pk), "run_epoch": of.run_epoch} if of else {"order": 4218}
        body = json.dumps(message)
    known: dict[str, Any] = {
        "message_id": str(uuid4()),
        "queue": "default",
        "body": body,
        "body_bytes": len(body.encode()),
        "sent_at": Now() - age,
        "expires_at": Now() - age + 4 * DAY,
        "receive_count": 3,
        "job": of,
        "run_epoch": of.run_epoch if of else None,
    }
    known |= fields
    known["dlq"] = known.get("dlq") or dead_letter_queue(known["queue"] or "default")
    known["group"] = known.get("group") or failure_group()
    made = DeadLetter.objects.create(**known)
    return DeadLetter.objects.get(pk=made.pk)
