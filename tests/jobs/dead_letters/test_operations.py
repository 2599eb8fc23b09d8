"""Tests of operations on dead letters: what is planned and recorded, by whom, and only once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from jobs.dead_letters import operations
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, Job, JobEvent, Outbox, ReplayAttempt, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction, OperationRefused
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.factories import dead_letter, job
from tests.racing import race

pytestmark = pytest.mark.django_db

OLGA = Actor.operator("olga", None)
REASON = "the directory is back"
State = DeadLetter.State
Step = ReplayAttempt.State


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/default"
    settings.QUEUES = {"default": QueueConfig("default", url, f"{url}-dlq")}


def do(action: LetterAction, *letters: DeadLetter) -> list[tuple[bool, str]]:
    steps = operations.plan(action, [letter.pk for letter in letters])
    return [(outcome.done, outcome.sentence) for outcome in operations.carry_out(steps, OLGA, REASON)]


def state(letter: DeadLetter) -> str:
    letter.refresh_from_db()
    return letter.state


def rows(letter: DeadLetter) -> list[tuple[str, str, str, str]]:
    return [(row.action, row.state, row.actor, row.reason) for row in letter.attempts.all()]


def test_foreign_letter_waits_to_be_sent_to_its_origin() -> None:
    letter = dead_letter()

    assert do(LetterAction.REPLAY, letter) == [(True, "Waits to be sent to the queue default.")]

    assert state(letter) == State.REPLAYING
    assert rows(letter) == [("replay", "wanted", "operator:olga", REASON)]


def test_letter_of_stale_run_promises_no_recovery() -> None:
    """Refer to the job's page, because recovery may only observe, or the run may predate the cutoff."""
    letter = dead_letter(factories.run(age=timedelta(hours=2), silent=timedelta(hours=1)))
    [(done, sentence)] = do(LetterAction.REPLAY, letter)
    assert (done, sentence) == (
        False,
        "The run of its job is stale: the page of the job says what will happen to it.",
    )


@pytest.mark.parametrize(("status", "event"), [(Status.FAILED, "requeued"), (Status.QUARANTINED, "released")])
def test_letter_of_a_dead_job_requeues_it_once(status: Status, event: str) -> None:
    made = job(status=status, recovery_count=3)
    letter, other = dead_letter(made), dead_letter(made)

    done, skipped = do(LetterAction.REPLAY, letter, other)

    assert done == (True, "Its job was queued for run 2.")
    assert skipped == (False, "It has changed in the meantime: it is being replayed now. Nothing was done.")
    made.refresh_from_db()
    assert (made.status, made.run_epoch) == (Status.PENDING, 2)
    assert Outbox.objects.filter(job=made, run_epoch=2).count() == 1
    assert JobEvent.objects.get(job=made, kind=event).actor == "operator:olga"
    for each in (letter, other):
        assert state(each) == State.REPLAYING
        assert rows(each) == [("replay", "requeued", "operator:olga", REASON)]
        assert each.attempts.get().job_epoch == 2


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"status": Status.IN_PROGRESS}, "Its job is running"),
        ({"status": Status.COMPLETED}, "Its job is completed: discard the letter."),
        ({"status": Status.CANCELLED}, "Its job was cancelled"),
        ({"status": "archived"}, "Its job has the status 'archived'"),
    ],
)
def test_letter_whose_job_needs_no_run_is_skipped_with_the_reason(
    fields: dict[str, Any], sentence: str
) -> None:
    letter = dead_letter(job(**fields))

    [(done, said)] = do(LetterAction.REPLAY, letter)

    assert not done
    assert said.startswith(sentence)
    assert state(letter) == State.IN_QUEUE
    assert not letter.attempts.exists()


@pytest.mark.parametrize(
    ("status", "begins"),
    [
        (Status.FAILED, "Its job will be requeued as run 2"),
        (Status.QUARANTINED, "Its job will be released from quarantine as run 2"),
        (Status.PENDING, "Its job is waiting for a message that will never arrive: it will wait for run 2"),
    ],
)
def test_replay_says_when_the_message_of_the_job_is_sent(status: Status, begins: str) -> None:
    letters = [dead_letter(job(status=status, queue=queue), run_epoch=None) for queue in ("default", "gone")]
    said = {step.sentence for step in operations.plan(LetterAction.REPLAY, [each.pk for each in letters])}
    assert said == {
        f"{begins}, and its message will be sent. Then the letter is deleted.",
        f"{begins}. Its message will be sent once its queue 'gone' is configured. Then the letter is deleted.",
    }


def test_waiting_job_whose_only_message_died_is_sent_again() -> None:
    made = job()
    letter = dead_letter(made, run_epoch=None)

    assert do(LetterAction.REPLAY, letter) == [(True, "Its job was queued for run 2.")]

    made.refresh_from_db()
    assert (made.status, made.run_epoch) == (Status.PENDING, 2)
    assert state(letter) == State.REPLAYING


def test_waiting_job_whose_sent_message_died_is_sent_again() -> None:
    made = job()
    letter = dead_letter(made)
    factories.letter(made, state=Outbox.State.SENT, message_id=letter.message_id)

    assert do(LetterAction.REPLAY, letter)[0][0]


@pytest.mark.parametrize("message", [{"state": Outbox.State.WAITING}, {"state": Outbox.State.SENT}])
def test_waiting_job_with_another_message_is_not_sent_again(message: dict[str, Any]) -> None:
    made = job()
    factories.letter(made, message_id="another", **message)

    assert do(LetterAction.REPLAY, dead_letter(made)) == [(False, "Its job is already waiting for run 1.")]


def test_letter_of_earlier_run_leaves_waiting_job_alone() -> None:
    made = job(run_epoch=3)
    letter = dead_letter(made, run_epoch=2)

    assert do(LetterAction.REPLAY, letter) == [(False, "Its job is already waiting for run 3.")]


def test_letter_of_unknown_job_is_sent_unchanged() -> None:
    ghost = Job(id=uuid4(), run_epoch=1)
    letter = dead_letter(ghost)

    assert do(LetterAction.REPLAY, letter) == [(True, "Waits to be sent to the queue default.")]


@pytest.mark.parametrize(("queue", "said"), [("", "is not known"), ("removed", "is not configured")])
def test_letter_without_origin_queue_is_skipped(queue: str, said: str) -> None:
    [(done, sentence)] = do(LetterAction.REPLAY, dead_letter(queue=queue))

    assert not done
    assert said in sentence


def test_job_that_changed_since_the_preview_is_left_alone() -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    steps = operations.plan(LetterAction.REPLAY, [letter.pk])
    Job.objects.filter(pk=made.pk).update(run_epoch=2)

    [outcome] = operations.carry_out(steps, OLGA, REASON)

    assert not outcome.done
    assert outcome.sentence.startswith("Its job has changed in the meantime")


def test_requeueing_job_replays_its_letters() -> None:
    made = job(status=Status.FAILED)
    letter, discarded = dead_letter(made), dead_letter(made, state=State.DISCARDED)
    steps = job_operations.plan(JobAction.REQUEUE, [made.pk])

    job_operations.carry_out(steps, OLGA, REASON)

    assert rows(letter) == [("replay", "requeued", "operator:olga", REASON)]
    assert (state(letter), state(discarded)) == (State.REPLAYING, State.DISCARDED)


def test_discard_restore_and_replay_again() -> None:
    letter = dead_letter()
    assert do(LetterAction.DISCARD, letter) == [(True, "Waits to be deleted from its queue.")]
    assert state(letter) == State.DISCARDED
    letter.attempts.update(state=Step.DONE)

    assert do(LetterAction.RESTORE, letter) == [(True, "Kept in the console.")]
    assert state(letter) == State.KEPT

    assert do(LetterAction.REPLAY, letter)[0][0]
    assert letter.attempts.get(action=LetterAction.REPLAY).from_copy


def test_restore_before_deletion_cancels_discard() -> None:
    letter = dead_letter()
    do(LetterAction.DISCARD, letter)

    do(LetterAction.RESTORE, letter)

    assert state(letter) == State.IN_QUEUE
    assert [row[:2] for row in rows(letter)] == [("discard", "not_done"), ("restore", "done")]


@pytest.mark.parametrize(
    ("action", "before", "allowed"),
    [
        (LetterAction.REPLAY, State.IN_QUEUE, True),
        (LetterAction.REPLAY, State.GONE, True),
        (LetterAction.REPLAY, State.KEPT, True),
        (LetterAction.REPLAY, State.REPLAYED, False),
        (LetterAction.REPLAY, State.REPLAYING, False),
        (LetterAction.REPLAY, State.DISCARDED, False),
        (LetterAction.REPLAY, State.OUTCOME_UNKNOWN, False),
        (LetterAction.DISCARD, State.GONE, True),
        (LetterAction.DISCARD, State.REPLAYED, False),
        (LetterAction.DISCARD, State.OUTCOME_UNKNOWN, False),
        (LetterAction.RESTORE, State.IN_QUEUE, False),
        (LetterAction.MARK_SENT, State.IN_QUEUE, False),
        (LetterAction.MARK_NOT_SENT, State.OUTCOME_UNKNOWN, True),
    ],
)
def test_allowed_actions_by_state(action: LetterAction, before: str, allowed: bool) -> None:
    [step] = operations.plan(action, [dead_letter(state=before).pk])

    assert step.will == allowed
    assert step.sentence.endswith(".")


@pytest.mark.parametrize(
    ("action", "from_copy", "letter_state", "row_state"),
    [
        (LetterAction.MARK_SENT, False, State.REPLAYING, Step.SENT),
        (LetterAction.MARK_SENT, True, State.REPLAYED, Step.DONE),
        (LetterAction.MARK_NOT_SENT, False, State.IN_QUEUE, Step.NOT_DONE),
        (LetterAction.MARK_NOT_SENT, True, State.KEPT, Step.NOT_DONE),
    ],
)
def test_operator_settles_unknown_outcome(
    action: LetterAction, from_copy: bool, letter_state: str, row_state: str
) -> None:
    letter = dead_letter(state=State.OUTCOME_UNKNOWN)
    unknown = ReplayAttempt.objects.create(
        letter=letter,
        action=LetterAction.REPLAY,
        state=Step.UNKNOWN,
        actor="a",
        reason="r",
        from_copy=from_copy,
    )

    assert do(action, letter)[0][0]

    unknown.refresh_from_db()
    assert (state(letter), unknown.state) == (letter_state, row_state)
    assert letter.attempts.get(action=action).reason == REASON


def test_reason_is_required() -> None:
    letter = dead_letter()
    steps = operations.plan(LetterAction.REPLAY, [letter.pk])

    with pytest.raises(OperationRefused, match="Give a reason"):
        operations.carry_out(steps, OLGA, " ")

    assert state(letter) == State.IN_QUEUE


def test_ledger_is_append_only() -> None:
    letter = dead_letter()
    do(LetterAction.DISCARD, letter)
    do(LetterAction.RESTORE, letter)

    for change in (
        lambda: letter.attempts.all().delete(),
        lambda: letter.attempts.update(reason="another"),
        lambda: letter.attempts.filter(action="discard").update(outcome="another"),
    ):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [False, True], ids=["a foreign letter", "a letter of a job"])
def test_concurrent_replays_of_one_letter_count_once(known: bool) -> None:
    letter = dead_letter(job(status=Status.FAILED) if known else None)
    steps = operations.plan(LetterAction.REPLAY, [letter.pk])
    people = [Actor.operator("olga", None), Actor.operator("otto", None)]

    answers = race([partial(operations.carry_out, steps, actor, REASON) for actor in people])

    assert sorted(answer[0].done for answer in answers) == [False, True]
    assert letter.attempts.count() == 1
    assert Outbox.objects.count() == int(known)


@pytest.mark.django_db(transaction=True)
def test_replaying_a_letter_while_its_job_is_requeued() -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    of_letter = operations.plan(LetterAction.REPLAY, [letter.pk])
    of_job = job_operations.plan(JobAction.REQUEUE, [made.pk])

    race(
        [
            lambda: operations.carry_out(of_letter, OLGA, REASON),
            lambda: job_operations.carry_out(of_job, OLGA, REASON),
        ]
    )

    made.refresh_from_db()
    assert (made.run_epoch, state(letter)) == (2, State.REPLAYING)
    assert letter.attempts.count() == 1


def test_unknown_ids_are_left_out_and_the_order_is_kept() -> None:
    letters = [dead_letter(age=timedelta(hours=number)) for number in range(3)]

    steps = operations.plan(LetterAction.DISCARD, [letters[2].pk, uuid4(), letters[0].pk])

    assert [step.job_id for step in steps] == [letters[2].pk, letters[0].pk]


def test_letter_refused_by_database_fails_alone() -> None:
    letters = [dead_letter() for _ in range(7)]
    steps = operations.plan(LetterAction.DISCARD, [letter.pk for letter in letters])
    # The letter looks undecided but has an unfinished ledger row, so the constraint refuses another.
    ReplayAttempt.objects.create(
        letter=letters[4], action=LetterAction.REPLAY, state=Step.WANTED, actor="somebody", reason="r"
    )

    outcomes = operations.carry_out(steps, OLGA, REASON)

    assert [outcome.failed for outcome in outcomes] == [False] * 4 + [True] + [False] * 2
    assert [outcome.done for outcome in outcomes] == [True] * 4 + [False] + [True] * 2
    assert outcomes[4].sentence.startswith("The database refused it, nothing was changed:")
    assert state(letters[4]) == State.IN_QUEUE


def test_attempts_are_in_order_of_steps() -> None:
    letters = [dead_letter() for _ in range(5)]
    chosen = [letters[number].pk for number in (3, 0, 4, 1, 2)]

    outcomes = operations.carry_out(operations.plan(LetterAction.REPLAY, chosen), OLGA, REASON)

    assert [outcome.job_id for outcome in outcomes] == chosen
    assert list(ReplayAttempt.objects.order_by("pk").values_list("letter_id", flat=True)) == chosen


@pytest.mark.parametrize("action", [LetterAction.REPLAY, LetterAction.DISCARD])
def test_query_count_is_independent_of_letter_count(
    action: LetterAction, django_assert_max_num_queries: Any
) -> None:
    """Compare the query counts for 3 and 30 letters of each kind: foreign, and of jobs."""
    counts = []
    for number in (3, 30):
        letters = [dead_letter() for _ in range(number)]
        letters += [dead_letter(job(status=Status.FAILED)) for _ in range(number)]
        steps = operations.plan(action, [letter.pk for letter in letters])
        with django_assert_max_num_queries(40) as queries:
            outcomes = operations.carry_out(steps, OLGA, REASON)
        assert all(outcome.done for outcome in outcomes)
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.django_db(transaction=True)
def test_concurrent_discards_in_opposite_order_do_not_deadlock() -> None:
    letters = [dead_letter(job(status=Status.FAILED)) for _ in range(8)]
    steps = operations.plan(LetterAction.DISCARD, [letter.pk for letter in letters])
    people = [Actor.operator("olga", None), Actor.operator("otto", None)]

    answers = race(
        [
            partial(operations.carry_out, steps, people[0], REASON),
            partial(operations.carry_out, steps[::-1], people[1], REASON),
        ]
    )

    assert sorted(sum(outcome.done for outcome in answer) for answer in answers) == [0, 8]
    assert not any(outcome.failed for answer in answers for outcome in answer)
    assert ReplayAttempt.objects.count() == 8
