"""The duties that are killed at each of their steps: what they begin with, how they go on, and how all must end.

A scenario's ``subject`` is a text, so that a process of its own can act on it: ids of the rows that ``arrange`` made.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from alerts import notify
from alerts.models import Attempt, Delivery
from alerts.notify import Trouble
from alerts.sending import delivery
from jobs.bulk import chunks
from jobs.dead_letters import check, fulfilment
from jobs.dead_letters.scan import Budget
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging import dispatcher
from jobs.models import (
    BulkOperation,
    DeadLetter,
    DeadLetterQueue,
    Job,
    JobEvent,
    Outbox,
    ReplayAttempt,
    Status,
)
from jobs.recovery import sweeps
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.alerts import clock
from tests.conftest import TestQueue
from tests.fakes.slack import FakeSlack
from tests.jobs.bulk import helpers
from tests.jobs.dead_letters import account

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import DeleteMessageBatchRequestEntryTypeDef

AN_HOUR = timedelta(hours=1)
MOST_TICKS = 5
BUDGET = Budget(seconds=10, messages=100)
WORKER = Worker("crash-worker")


@dataclass
class World:
    """What surrounds the duty: the queue, Slack, and the receipts of the messages that the dead process held."""

    queue: TestQueue
    slack: FakeSlack
    receipts: Path

    def pass_time(self) -> None:
        """Let leases and visibility timeouts end."""
        Outbox.objects.filter(state="waiting").update(available_at=F("available_at") - AN_HOUR)
        ReplayAttempt.objects.filter(state="sending").update(sending_at=F("sending_at") - AN_HOUR)
        DeadLetterQueue.objects.update(scanning_until=None)
        BulkOperation.objects.filter(state="running").update(due_at=Now(), leased_until=Now())
        clock.move(timedelta(minutes=5))
        self.show_held_messages()

    def empty_queues(self) -> None:
        self.show_held_messages()
        for url in (self.queue.url, self.queue.dlq_url):
            while messages := self.receive(url):
                entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ]
                self.queue.client.delete_message_batch(QueueUrl=url, Entries=entries)

    def receive(self, url: str) -> Sequence[Any]:
        answer = self.queue.client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=20, WaitTimeSeconds=0
        )
        return answer.get("Messages", [])

    def show_held_messages(self) -> None:
        """Return the messages that the dead process held."""
        held = self.receipts.read_text(encoding="utf-8").split() if self.receipts.exists() else []
        for url, handle in zip(held[::2], held[1::2], strict=True):
            try:
                self.queue.client.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0
                )
            except (
                self.queue.client.exceptions.MessageNotInflight,
                self.queue.client.exceptions.ReceiptHandleIsInvalid,
            ):
                continue
        self.receipts.unlink(missing_ok=True)

    def die_in_queue(self, body: dict[str, Any]) -> str:
        """Put a message on the dead letter queue and return its id."""
        sent = self.queue.client.send_message(QueueUrl=self.queue.dlq_url, MessageBody=json.dumps(body))
        return sent["MessageId"]


@dataclass(frozen=True)
class Scenario:
    """One duty. ``go_on`` is what the next tick, or the next attempt of the same worker, does."""

    arrange: Callable[[World], str]
    act: Callable[[str], object]
    go_on: Callable[[World, str], object]
    check: Callable[[World, str], None]


def ids(subject: str) -> list[UUID]:
    return [UUID(each) for each in subject.split()]


def of(*rows: Any) -> str:
    return " ".join(str(row.pk) for row in rows)


def dispatch_all(world: World, _: str = "") -> None:
    """Dispatch until nothing failed: what a busy emulator did not accept is sent by a later tick, as in a cluster."""
    for _tick in range(MOST_TICKS):
        world.pass_time()
        if not dispatcher.dispatch().failed:
            break


# -- a sweep


def stale_runs(_: World) -> str:
    return of(
        *(factories.run(age=3 * AN_HOUR, silent=2 * AN_HOUR, worker=f"dead-{number}") for number in range(3))
    )


def sweep(_: str) -> object:
    return sweeps.sweep("test")


def sweep_again(world: World, subject: str) -> None:
    sweep(subject)
    dispatch_all(world)


def each_was_recovered_once(_: World, subject: str) -> None:
    for job in Job.objects.filter(pk__in=ids(subject)):
        assert (job.status, job.run_epoch, job.recovery_count) == (Status.PENDING, 2, 1)
        assert kinds_of(job) == ["recovered"]
        [letter] = Outbox.objects.filter(job=job)
        assert (letter.run_epoch, letter.state) == (2, "sent")


def kinds_of(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job_id=job.pk).order_by("id").values_list("kind", flat=True))


# -- the dispatcher


def waiting_letters(_: World) -> str:
    jobs = [factories.job() for _ in range(12)]
    for job in jobs:
        factories.letter(job)
    return of(*jobs)


def dispatch(_: str) -> object:
    # Three pages, so that one is leased and another one recorded while the next one is sent.
    with mock.patch.object(dispatcher, "PAGE", 4):
        return dispatcher.dispatch()


def each_was_sent(world: World, subject: str) -> None:
    wanted = set(ids(subject))
    states = set(Outbox.objects.filter(job__in=wanted).values_list("state", flat=True))
    assert states == {"sent"}
    bodies = [json.loads(body) for body in world.queue.bodies()]
    copies = Counter(UUID(body["job_id"]) for body in bodies)
    assert {job: count for job, count in copies.items() if job in wanted and count > 2} == {}
    assert set(copies) >= wanted
    # A copy is harmless, because each run has one winner (I1).
    first = next(body for body in bodies if UUID(body["job_id"]) in wanted)
    claims = [
        lifecycle.claim(UUID(first["job_id"]), first["run_epoch"], Worker(f"claimer-{number}"))
        for number in range(2)
    ]
    assert [isinstance(claim, RunningJob) for claim in claims] == [True, False]


# -- claim, complete and fail


def waiting_job(_: World) -> str:
    return of(factories.job())


def claim(subject: str) -> object:
    return lifecycle.claim(ids(subject)[0], 1, WORKER)


def claim_again(_: World, subject: str) -> None:
    lifecycle.claim(ids(subject)[0], 1, WORKER, asked_before=True)


def it_was_claimed_once(_: World, subject: str) -> None:
    job = Job.objects.get(pk=subject)
    assert (job.status, job.run_epoch, job.worker_id) == (Status.IN_PROGRESS, 1, WORKER.id)
    assert kinds_of(job) == ["claimed"]
    assert not isinstance(lifecycle.claim(job.pk, 1, Worker("second")), RunningJob)


def claimed_job(_: World) -> str:
    job = factories.job()
    assert isinstance(lifecycle.claim(job.pk, 1, WORKER), RunningJob)
    return of(job)


def complete(subject: str) -> object:
    return lifecycle.complete(Run(ids(subject)[0], 1, WORKER), {"directories": 50})


def complete_again(_: World, subject: str) -> None:
    assert complete(subject), "the worker asks again, and its result counts"


def it_was_completed_once(_: World, subject: str) -> None:
    job = Job.objects.get(pk=subject)
    assert (job.status, job.run_epoch) == (Status.COMPLETED, 1)
    assert kinds_of(job) == ["claimed", "completed"]


def fail(subject: str) -> object:
    return lifecycle.fail(Run(ids(subject)[0], 1, WORKER), "the directory did not answer")


def fail_again(world: World, subject: str) -> None:
    assert fail(subject) == lifecycle.Failure.RETRY
    dispatch_all(world)


def it_failed_once(_: World, subject: str) -> None:
    job = Job.objects.get(pk=subject)
    assert (job.status, job.run_epoch, job.attempts) == (Status.PENDING, 2, 1)
    assert kinds_of(job) == ["claimed", "retry_scheduled"]
    [letter] = Outbox.objects.filter(job=job)
    assert letter.run_epoch == 2


# -- dead letters


def unread_letters(world: World) -> str:
    return " ".join(world.die_in_queue({"order": number}) for number in range(3))


def check_letters(_: str) -> object:
    return check.check()


def check_again(world: World, subject: str) -> None:
    world.pass_time()
    check_letters(subject)


def each_letter_was_stored_and_reported_once(world: World, subject: str) -> None:
    wanted = subject.split()
    stored = DeadLetter.objects.filter(message_id__in=wanted)
    assert Counter(stored.values_list("message_id", flat=True)) == Counter(wanted)
    assert not stored.filter(told_at=None).exists()
    world.show_held_messages()
    assert message_ids(world, world.queue.dlq_url) >= set(wanted)


def message_ids(world: World, url: str) -> set[str]:
    """Return the ids of the visible messages, and leave them visible."""
    seen: set[str] = set()
    while messages := world.receive(url):
        seen |= {message["MessageId"] for message in messages}
        with world.receipts.open("a", encoding="utf-8") as file:
            file.writelines(f"{url} {message['ReceiptHandle']}\n" for message in messages)
    world.show_held_messages()
    return seen


def letters_to(action: LetterAction) -> Callable[[World], str]:
    """Return what arranges one foreign letter and one of a failed job, both with this action requested."""

    def arrange(world: World) -> str:
        failed = factories.job(status=Status.FAILED)
        bodies: list[dict[str, Any]] = [{"order": str(failed.pk)}]
        if action == LetterAction.REPLAY:
            bodies.append({"job_id": str(failed.pk), "run_epoch": 1})
        message_ids = [world.die_in_queue(body) for body in bodies]
        check.check()
        letters = account.letters(message_ids)
        account.decide(action, *letters)
        return of(*letters)

    return arrange


def fulfil(_: str) -> object:
    return fulfilment.work(BUDGET)


def fulfil_again(world: World, subject: str) -> None:
    for _ in range(4):
        world.pass_time()
        fulfil(subject)
        dispatcher.dispatch()


def each_letter_was_replayed_once_or_is_in_doubt(world: World, subject: str) -> None:
    arrived = [json.loads(body) for body in world.queue.bodies()]
    for letter in DeadLetter.objects.filter(pk__in=subject.split()):
        [attempt] = letter.attempts.all()
        if letter.job_id:
            job = Job.objects.get(pk=letter.job_id)
            assert (job.status, job.run_epoch, kinds_of(job)) == (Status.PENDING, 2, ["requeued"])
            copies = [each for each in arrived if each.get("job_id") == str(job.pk)]
            assert attempt.state == "done" and 1 <= len(copies) <= 2
            assert {each["run_epoch"] for each in copies} == {2}
        else:
            copies = [each for each in arrived if each == json.loads(letter.body)]
            if attempt.state == "unknown":
                assert len(copies) <= 1, "nothing is sent again by itself"
                assert letter.message_id in message_ids(world, world.queue.dlq_url)
            else:
                assert (attempt.state, len(copies)) == ("done", 1)


def each_letter_was_discarded_once(world: World, subject: str) -> None:
    letters = DeadLetter.objects.filter(pk__in=subject.split())
    assert {(each.state, each.attempts.get().state) for each in letters} == {("discarded", "done")}
    left = message_ids(world, world.queue.dlq_url)
    assert left.isdisjoint(letters.values_list("message_id", flat=True))
    assert all(letter.body for letter in letters)


# -- bulk operations


def begun_operation(_: World) -> str:
    return of(helpers.begun(helpers.many(3)))


def do_chunk(subject: str) -> object:
    return chunks.run(seconds=0.5)


def finish_operation(world: World, subject: str) -> None:
    world.pass_time()
    helpers.finish(BulkOperation.objects.get(pk=subject))
    dispatch_all(world)


def each_member_was_requeued_once(_: World, subject: str) -> None:
    operation = BulkOperation.objects.get(pk=subject)
    assert (operation.state, helpers.outcomes(operation)) == ("ended", {"done": 3})
    for job in Job.objects.filter(pk__in=list(operation.members.values_list("subject", flat=True))):
        assert (job.status, job.run_epoch, kinds_of(job)) == (Status.PENDING, 2, ["requeued"])
        assert [letter.state for letter in Outbox.objects.filter(job=job)] == ["sent"]


# -- alerts


def raised_alert(world: World) -> str:
    world.slack.posts.clear()
    scope = f"queue-{Delivery.objects.count()}"
    notify.measure("dlq_not_empty", 5, Trouble(title=f"5 dead letters in {scope}"), scope=scope)
    return scope


def deliver(_: str) -> object:
    return delivery.deliver()


def deliver_again(world: World, subject: str) -> None:
    for _ in range(3):
        world.pass_time()
        deliver(subject)


def the_alert_was_told_once_or_labelled(world: World, subject: str) -> None:
    posts = [text for text in world.slack.texts if f"5 dead letters in {subject}" in text]
    assert 1 <= len(posts) <= 2
    if len(posts) == 2:
        assert "repeat" in posts[1].lower(), "a second copy says that it may be one"
    assert not Delivery.objects.waiting().exists()
    assert Attempt.objects.filter(outcome="delivered").exists()


SCENARIOS = {
    "sweep": Scenario(stale_runs, sweep, sweep_again, each_was_recovered_once),
    "dispatch": Scenario(waiting_letters, dispatch, dispatch_all, each_was_sent),
    "claim": Scenario(waiting_job, claim, claim_again, it_was_claimed_once),
    "complete": Scenario(claimed_job, complete, complete_again, it_was_completed_once),
    "fail": Scenario(claimed_job, fail, fail_again, it_failed_once),
    "scan": Scenario(unread_letters, check_letters, check_again, each_letter_was_stored_and_reported_once),
    "replay": Scenario(
        letters_to(LetterAction.REPLAY), fulfil, fulfil_again, each_letter_was_replayed_once_or_is_in_doubt
    ),
    "discard": Scenario(
        letters_to(LetterAction.DISCARD), fulfil, fulfil_again, each_letter_was_discarded_once
    ),
    "bulk": Scenario(begun_operation, do_chunk, finish_operation, each_member_was_requeued_once),
    "alert": Scenario(raised_alert, deliver, deliver_again, the_alert_was_told_once_or_labelled),
}
