"""Tests of the outbox: a message commits with its change, once per run and destination (I2)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.messaging import outbox
from jobs.messaging.outbox import NewMessage
from jobs.models import Job, Outbox, Status
from opsconsole.kit.postgresql import binary_values
from opsconsole_worker.messages import REASON_LENGTH
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests.factories import SECOND, job, letter

pytestmark = pytest.mark.django_db


class ChangeOfMind(Exception):
    """An exception that rolls back a transaction."""


def test_post_waits_and_is_due_at_once() -> None:
    waiting = job()
    outbox.post(waiting.pk, 1, "default", reason=outbox.OPERATOR_REQUEUE, retry=True)
    row = Outbox.objects.due().get()
    assert (row.job_id, row.run_epoch, row.destination) == (waiting.pk, 1, Outbox.Destination.QUEUE)
    assert (row.reason, row.retry, row.attempts, row.resends) == ("operator_requeue", True, 0, 0)


def test_post_with_a_delay_is_due_after_it() -> None:
    outbox.post(job().pk, 1, "default", reason="", retry=False, delay=30 * SECOND)
    assert not Outbox.objects.due().exists()
    Outbox.objects.update(available_at=F("available_at") - 20 * SECOND)
    assert not Outbox.objects.due().exists()
    Outbox.objects.update(available_at=F("available_at") - 10 * SECOND)
    assert Outbox.objects.due().count() == 1


def test_many_are_posted_in_their_order_each_due_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_values, "BATCH", 2)
    jobs = [job() for _ in range(3)]
    [at] = Job.objects.filter(pk=jobs[1].pk).values_list(Now() + 30 * SECOND, flat=True)
    outbox.post_all(
        [
            NewMessage(jobs[0].pk, 2, "default", outbox.OPERATOR_REQUEUE, retry=True),
            NewMessage(jobs[1].pk, 1, "bulk", outbox.ENQUEUED, retry=False, due_at=at),
            NewMessage(jobs[2].pk, 3, "default", outbox.RESTORED, retry=True),
        ]
    )
    rows = Outbox.objects.order_by("id")
    assert list(rows.values_list("job_id", "run_epoch", "queue", "reason", "retry", "destination")) == [
        (jobs[0].pk, 2, "default", "operator_requeue", True, "queue"),
        (jobs[1].pk, 1, "bulk", "", False, "queue"),
        (jobs[2].pk, 3, "default", "restored", True, "queue"),
    ]
    assert rows[1].available_at == at
    assert list(Outbox.objects.due()) == [rows[0], rows[2]]
    assert {row.dead_letter_id for row in rows} == {None}


def test_due_is_in_the_order_of_becoming_due() -> None:
    rows = [letter(job(), due=age * SECOND) for age in (1, 9, 1)]
    assert list(Outbox.objects.due()) == [rows[1], rows[0], rows[2]]


def test_rollback_of_change_discards_its_message() -> None:
    waiting = job()
    with pytest.raises(ChangeOfMind), transaction.atomic():
        outbox.post(waiting.pk, 1, "default", reason="", retry=False)
        raise ChangeOfMind
    assert not Outbox.objects.exists()


def test_run_is_announced_once_on_its_queue() -> None:
    waiting = job()
    outbox.post(waiting.pk, 1, "default", reason="", retry=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        outbox.post(waiting.pk, 1, "default", reason="", retry=False)
    outbox.post(waiting.pk, 2, "default", reason="", retry=False)
    assert Outbox.objects.count() == 2


def test_dead_letter_of_a_run_is_posted_once_and_beside_its_message() -> None:
    dead = job(status=Status.IN_PROGRESS, worker_id="w", claimed_epoch=1)
    outbox.post(dead.pk, 1, "default", reason="", retry=False)
    for reason in ("x" * 600, "again"):
        lifecycle.fail(Run(dead.pk, 1, Worker("w")), reason, retryable=False)
    row = Outbox.objects.get(destination=Outbox.Destination.DLQ)
    assert row.reason == "x" * REASON_LENGTH
    assert row.dead_letter_id is not None
    assert Outbox.objects.get(destination=Outbox.Destination.QUEUE).dead_letter_id is None
    assert Outbox.objects.count() == 2
