"""Tests of freezing inside the server: the plans are those of the one function that decides about a job (I12)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs.bulk import decisions, freezing
from jobs.bulk.registry import kind_of
from jobs.models import Job, Status
from jobs.operations import job_operations, verdicts
from jobs.operations.steps import JobAction
from tests.factories import job, run
from tests.jobs.bulk.helpers import ADA, REASON, finish, fresh, many, outcomes, planned, preview

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("action", JobAction)
def test_columns_named_as_deciding_decide_alone(action: JobAction) -> None:
    for status in [*Status.values, "theirs"]:
        plain = job(status=status, queue="default", run_epoch=4, recovery_count=2)
        eventful = run(age=9 * HOUR, silent=5 * HOUR, worker="w-1")
        told = {"run_epoch": 4, "recovery_count": 2, "attempts": 3, "claimed_epoch": 4, "error_message": "no"}
        Job.objects.filter(pk=eventful.pk).update(status=status, **told)
        steps = job_operations.plan(action, [plain.pk, eventful.pk])
        if status in verdicts.NEED_EVIDENCE:
            continue
        alike = verdicts.step_for_all_with(action, status, "default", 4, 2)
        assert [replace(step, job_id=alike.job_id) for step in steps] == [alike, alike], status


@pytest.mark.parametrize("action", JobAction)
def test_members_frozen_in_the_server_are_those_planned_one_by_one(
    action: JobAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, status in enumerate([*Status.values, "theirs"]):
        many(
            2,
            status=status,
            queue=("default", "gone")[number % 2],
            run_epoch=1 + number,
            recovery_count=number,
        )
    run(age=2 * HOUR, silent=HOUR)
    kind = kind_of(action)

    def members(how: Any) -> list[tuple[Any, ...]]:
        return planned(freezing.freeze(how, Job.objects.all(), ADA, scope="all"))

    one_by_one = members(replace(kind, alike=None))
    assert len(one_by_one) == 2 * (len(Status.values) + 1) + 1
    assert members(kind) == one_by_one
    monkeypatch.setattr(freezing, "MOST_ALIKE", 2)
    assert members(kind) == one_by_one


def test_freezing_more_members_takes_no_more_statements() -> None:
    counts = []
    for number in (3, 40):
        many(number, run_epoch=7)
        with CaptureQueriesContext(connection) as queries:
            operation = preview()
        counts.append(len(queries))
        assert operation.will == operation.total
    assert counts[0] == counts[1]


def test_what_a_preview_leaves_out_is_settled_when_it_is_frozen() -> None:
    many(2)
    many(3, status=Status.COMPLETED)
    run(age=HOUR * 2, silent=HOUR)
    operation = preview()
    assert outcomes(operation) == {"waiting": 3, "skipped": 3}
    assert operation.members.filter(outcome="skipped", settled_at=None).count() == 0
    with CaptureQueriesContext(connection) as asked:
        decisions.begin(operation, ADA, REASON, typed="3")
    assert not any("bulk_members" in each["sql"] and "UPDATE" in each["sql"] for each in asked)
    assert (fresh(operation).skipped, fresh(operation).remaining) == (3, 3)


def test_preview_from_the_version_before_is_begun_with_the_same_figures() -> None:
    many(2)
    many(3, status=Status.COMPLETED)
    operation = preview()
    operation.members.update(outcome="waiting", settled_at=None)
    decisions.begin(operation, ADA, REASON, typed="2")
    assert outcomes(operation) == {"waiting": 2, "skipped": 3}
    assert (fresh(operation).skipped, finish(operation).done) == (3, 2)
