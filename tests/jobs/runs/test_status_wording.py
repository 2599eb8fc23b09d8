"""Tests of the words for statuses: one wording on pages, in sentences and in commands."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.models import Job, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.runs import status_wording
from jobs.runs.timeline import Actor
from tests.factories import job

LATER = timedelta(days=1)


@pytest.mark.parametrize(
    ("status", "word", "in_sentence"),
    [
        (Status.PENDING, "Waiting", "waiting"),
        (Status.IN_PROGRESS, "In progress", "in progress"),
        (Status.COMPLETED, "Completed", "completed"),
        ("Parked_By_Them", "Parked_By_Them", "'Parked_By_Them'"),
    ],
)
def test_status_in_words(status: str, word: str, in_sentence: str) -> None:
    assert status_wording.of_status(status) == word
    assert status_wording.within_sentence(status) == in_sentence


def test_job_that_may_not_start_yet_is_scheduled() -> None:
    now = timezone.now()
    scheduled = Job(status=Status.PENDING, not_before=now + LATER)
    assert status_wording.of_job(scheduled, now) == "Scheduled"
    assert status_wording.of_job(scheduled, now + 2 * LATER) == "Waiting"
    assert status_wording.of_job_within_sentence(scheduled, now) == "scheduled"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("became", "word"),
    [
        ({"status": Status.PENDING}, "waiting"),
        ({"status": Status.PENDING, "not_before": LATER}, "scheduled"),
        ({"status": Status.IN_PROGRESS}, "in progress"),
        ({"status": "parked"}, "'parked'"),
    ],
)
def test_operation_says_what_a_job_has_become_as_pages_do(became: dict[str, object], word: str) -> None:
    failed = job(status=Status.FAILED)
    [step] = job_operations.plan(JobAction.REQUEUE, [failed.pk])
    if "not_before" in became:
        became = became | {"not_before": timezone.now() + LATER}
    Job.objects.filter(pk=failed.pk).update(run_epoch=2, **became)

    [outcome] = job_operations.carry_out([step], Actor.operator("ada", None), "The service is back.")

    assert not outcome.done
    assert outcome.sentence == f"It changed in the meantime: now {word}, run 2."
