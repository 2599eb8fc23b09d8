"""Tests of the trial: a few members go first; if too many fail again, the rest is not requeued."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now

from jobs.bulk import decisions, job_actions, trial
from jobs.bulk.trial import TrialVerdict
from jobs.models import BulkOperation, Job, JobEvent, Status
from tests.factories import SECOND, job
from tests.jobs.bulk.helpers import ADA, begun, chunk, finish, fresh, many, outcomes, told

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _trial_of_four(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_PACE = 6
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 4
    settings.OPSCONSOLE_BULK_TRIAL_SECONDS = 60


def now_on(operation: BulkOperation) -> tuple[str, int, int]:
    operation = fresh(operation)
    return operation.state, operation.done, operation.remaining


def the_first(operation: BulkOperation, count: int) -> Any:
    done = operation.members.filter(outcome="done").order_by("id").values_list("subject", flat=True)
    return Job.objects.filter(pk__in=list(done[:count]))


def test_only_trial_members_are_done_before_wait() -> None:
    many(20)
    operation = begun()
    for _ in range(5):
        chunk(operation)
    assert now_on(operation) == ("running", 4, 16)
    assert "The first 4 were sent ahead" in fresh(operation).sentence


def test_operation_stops_when_half_of_trial_fails() -> None:
    many(20)
    operation = begun()
    chunk(operation)
    the_first(operation, 2).update(status=Status.FAILED)
    chunk(operation)
    assert now_on(operation) == ("stopped", 4, 16)
    failed = ", ".join(str(each.pk)[:8] for each in the_first(operation, 2).order_by("created_at"))
    assert fresh(operation).sentence.startswith(
        f"Stopped automatically: 2 of the first 4 failed again: {failed}."
    )
    assert told(operation) == ["begun", "stopped"]
    assert outcomes(operation) == {"waiting": 16, "done": 4}
    assert JobEvent.objects.count() == 4


def test_operation_continues_when_fewer_than_half_fail() -> None:
    many(20)
    operation = begun()
    chunk(operation)
    the_first(operation, 1).update(status=Status.FAILED)
    the_first(operation, 4).exclude(status=Status.FAILED).update(status=Status.COMPLETED)
    chunk(operation)
    assert now_on(operation) == ("running", 10, 10)
    assert told(operation) == ["begun", "trial_passed"]
    assert finish(operation).done == 20


def test_operation_continues_when_trial_is_undecided_after_wait() -> None:
    many(20)
    operation = begun()
    chunk(operation)
    chunk(operation)
    BulkOperation.objects.update(trial_until=Now() - SECOND)
    chunk(operation)
    assert now_on(operation) == ("running", 10, 10)


def test_late_failures_still_stop_operation() -> None:
    many(20)
    operation = begun()
    chunk(operation)
    the_first(operation, 4).update(status=Status.COMPLETED)
    chunk(operation)
    the_first(operation, 2).update(status=Status.QUARANTINED)
    chunk(operation)
    assert now_on(operation) == ("stopped", 10, 10)


def test_resuming_starts_new_trial() -> None:
    many(20)
    operation = begun()
    chunk(operation)
    the_first(operation, 4).update(status=Status.FAILED)
    chunk(operation)
    decisions.resume(operation, ADA, "the cause is mended")
    chunk(operation)
    chunk(operation)
    assert now_on(operation) == ("running", 8, 12)
    assert "sent ahead" in fresh(operation).sentence
    newest = operation.members.filter(outcome="done").order_by("-id").values_list("subject", flat=True)[:4]
    Job.objects.filter(pk__in=list(newest)).update(status=Status.COMPLETED)
    assert finish(operation).state == "ended"


def test_small_operation_has_no_trial() -> None:
    many(4)
    operation = finish(begun())
    assert (operation.state, operation.done) == ("ended", 4)
    assert told(operation) == ["begun", "ended"]


def test_cancelling_jobs_needs_no_trial() -> None:
    many(12, status=Status.PENDING)
    operation = begun(action="cancel")
    chunk(operation)
    assert now_on(operation) == ("running", 6, 6)


def test_without_a_size_there_is_no_trial(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    many(12)
    operation = begun()
    chunk(operation)
    assert now_on(operation) == ("running", 6, 6)


@pytest.mark.parametrize(
    ("fields", "back", "through"),
    [
        ({"status": "pending"}, 0, 0),
        ({"status": "in_progress"}, 0, 0),
        ({"status": "failed"}, 1, 0),
        ({"status": "quarantined"}, 1, 0),
        ({"status": "pending", "attempts": 1}, 1, 0),
        ({"status": "completed"}, 0, 1),
        ({"status": "completed", "attempts": 1}, 0, 1),
    ],
)
def test_which_members_count_as_failed_and_succeeded(fields: dict[str, Any], back: int, through: int) -> None:
    made = [str(job(**fields).pk)]
    assert (len(job_actions.came_back(made)), job_actions.came_through(made)) == (back, through)


@pytest.mark.parametrize(
    ("back", "through", "seconds_left", "passed", "verdict"),
    [
        (0, 0, None, False, TrialVerdict.WAIT),
        (0, 0, 1, False, TrialVerdict.WAIT),
        (0, 0, 0, False, TrialVerdict.PASSED),
        (4, 6, 30, False, TrialVerdict.PASSED),
        (4, 5, 30, False, TrialVerdict.WAIT),
        (5, 0, 30, False, TrialVerdict.STOP),
        (5, 0, 0, False, TrialVerdict.STOP),
        (5, 0, 0, True, TrialVerdict.STOP),
        (4, 0, 30, True, TrialVerdict.GO_ON),
    ],
)
def test_trial_verdict(
    back: int, through: int, seconds_left: int | None, *, passed: bool, verdict: TrialVerdict
) -> None:
    now = timedelta(0)
    until = None if seconds_left is None else now + seconds_left * SECOND
    operation: Any = SimpleNamespace(trial_passed=passed, trial_until=until, db_now=now)
    assert trial.decide(operation, 10, ["5a3c91d2"] * back, through).verdict == verdict


def test_sentence_names_the_first_few() -> None:
    failed = [str(UUID(str(number) * 32)) for number in range(8)]
    operation: Any = SimpleNamespace(trial_passed=False, trial_until=None, db_now=timedelta(0))

    sentence = trial.decide(operation, 10, failed, 0).sentence

    assert "failed again: 00000000, 11111111, 22222222, 33333333, 44444444 and 3 more." in sentence
