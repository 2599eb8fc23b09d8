"""Tests of operations beside a locked row: the others go on, and all of them together wait once (I13)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from jobs.dead_letters import editing, operations
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, Job, Outbox, ReplayAttempt, Status
from jobs.operations import job_operations
from jobs.operations.steps import LOCKED_BY_OTHERS, JobAction, OperationRefused, Outcome
from jobs.runs.timeline import Actor
from opsconsole.kit import row_locks
from opsconsole.kit.row_locks import WaitBudget
from opsconsole_worker.environment import QueueConfig
from tests.factories import dead_letter, job
from tests.lock_waits import waits_in_vain
from tests.other_sessions import OtherSession, other_session

pytestmark = pytest.mark.django_db(transaction=True)

OLGA = Actor.operator("olga", None)
REASON = "the directory is back"
WAIT = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/default"
    settings.QUEUES = {"default": QueueConfig("default", url, f"{url}-dlq")}


@pytest.fixture
def other() -> Iterator[OtherSession]:
    with other_session() as session:
        yield session


def hold(session: OtherSession, table: str, *ids: UUID) -> None:
    session.execute(f"SELECT FROM {table} WHERE id = ANY(%s) FOR NO KEY UPDATE", [list(ids)])


def replay(letters: list[DeadLetter]) -> list[Outcome]:
    """Replay the letters. However many rows others hold, one statement at most waits for them."""
    steps = operations.plan(LetterAction.REPLAY, [letter.pk for letter in letters])
    with waits_in_vain() as waits:
        outcomes = operations.carry_out(steps, OLGA, REASON, budget=WaitBudget(WAIT))
    assert len(waits) == any(not outcome.done for outcome in outcomes)
    return outcomes


def test_letters_of_locked_jobs_are_named_and_the_others_are_replayed(other: OtherSession) -> None:
    jobs = [job(status=Status.FAILED) for _ in range(12)]
    letters = [dead_letter(made) for made in jobs]
    hold(other, "jobs", jobs[3].pk, jobs[7].pk)
    outcomes = replay(letters)
    locked = [number for number, outcome in enumerate(outcomes) if not outcome.done]
    assert locked == [3, 7]
    assert {outcomes[number].sentence for number in locked} == {LOCKED_BY_OTHERS}
    assert all(outcomes[number].failed for number in locked)
    assert Outbox.objects.count() == 10


def test_locked_letter_is_named_and_the_others_are_replayed(other: OtherSession) -> None:
    letters = [dead_letter() for _ in range(5)]
    hold(other, "dead_letters", letters[2].pk)
    outcomes = replay(letters)
    assert [outcome.done for outcome in outcomes] == [True, True, False, True, True]
    assert outcomes[2].sentence == LOCKED_BY_OTHERS
    assert ReplayAttempt.objects.count() == 4


def test_rows_that_are_locked_late_make_nobody_wait_anew(other: OtherSession) -> None:
    """Hold other letters of the jobs, which are locked only when their job is requeued."""
    jobs = [job(status=Status.FAILED) for _ in range(8)]
    letters = [dead_letter(made) for made in jobs]
    hold(other, "dead_letters", *(dead_letter(made).pk for made in jobs[:6]))
    outcomes = replay(letters)
    assert [outcome.done for outcome in outcomes] == [False] * 6 + [True] * 2
    assert {(outcome.sentence, outcome.failed) for outcome in outcomes[:6]} == {(LOCKED_BY_OTHERS, True)}


def test_jobs_that_others_hold_make_an_operation_wait_once(other: OtherSession) -> None:
    jobs = [job(status=Status.FAILED) for _ in range(8)]
    hold(other, "jobs", *(made.pk for made in jobs[::2]))
    steps = job_operations.plan(JobAction.REQUEUE, [made.pk for made in jobs])
    with waits_in_vain() as waits:
        outcomes = job_operations.carry_out(steps, OLGA, REASON, budget=WaitBudget(WAIT))
    assert len(waits) == 1
    assert [outcome.failed for outcome in outcomes] == [True, False] * 4
    assert Job.objects.filter(status=Status.PENDING).count() == 4


def test_row_that_is_released_in_time_is_changed(other: OtherSession) -> None:
    made = job(status=Status.FAILED)
    hold(other, "jobs", made.pk)
    other.rollback()
    outcomes = replay([dead_letter(made)])
    assert outcomes[0].done


def test_edited_replay_of_a_locked_letter_is_refused(
    other: OtherSession, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    monkeypatch.setattr(row_locks, "WAIT", WAIT)
    letter = dead_letter()
    hold(other, "dead_letters", letter.pk)
    with pytest.raises(OperationRefused, match="locked by others"):
        editing.replay_edited(letter.pk, '{"order": 4219}', OLGA, REASON)
