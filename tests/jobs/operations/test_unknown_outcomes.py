"""Tests of operations and commands whose connection breaks while they save: no row counts as refused or as changed by others (I14)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from jobs.bulk import chunks, decisions, freezing
from jobs.bulk.registry import kind_of
from jobs.dead_letters import operations
from jobs.letter_ledger.entries import LetterAction
from jobs.models import BulkOperation, DeadLetter, Job, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.runs.timeline import Actor
from opsconsole.kit.kept_changes import Kept
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.chaos import cuts
from tests.chaos.cuts import CuttingProxy

pytestmark = pytest.mark.django_db(transaction=True)

OLGA = Actor.operator("olga", None)


@pytest.fixture
def proxy(settings: Any) -> Iterator[CuttingProxy]:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    with cuts.to_database() as made:
        yield made


def test_jobs_are_not_tried_again(proxy: CuttingProxy) -> None:
    jobs = [factories.job(status=Status.FAILED), factories.job(), factories.job(status=Status.FAILED)]
    steps = job_operations.plan(JobAction.REQUEUE, [job.pk for job in jobs])
    proxy.cut((b"INSERT INTO outbox", b"COMMIT"), answer=True)

    with proxy.as_default():
        outcomes = job_operations.carry_out(steps, OLGA, "mended")

    assert [outcome.sentence for outcome in outcomes] == [
        Kept.UNKNOWN.sentence,
        "It is already waiting.",
        Kept.UNKNOWN.sentence,
    ]
    assert [outcome.failed for outcome in outcomes] == [True, False, True]
    assert set(Job.objects.values_list("run_epoch", flat=True)) == {1, 2}


def test_letters_are_not_tried_again(proxy: CuttingProxy) -> None:
    letters = [factories.dead_letter() for _ in range(3)]
    steps = operations.plan(LetterAction.DISCARD, [letter.pk for letter in letters])
    proxy.cut((b"INSERT INTO dead_letter_ledger", b"COMMIT"), answer=True)

    with proxy.as_default():
        outcomes = operations.carry_out(steps, OLGA, "useless")

    assert {outcome.sentence for outcome in outcomes} == {Kept.UNKNOWN.sentence}
    assert all(outcome.failed for outcome in outcomes)
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {DeadLetter.State.DISCARDED}


def test_enqueue_command_names_a_job_to_look_for(proxy: CuttingProxy) -> None:
    proxy.cut((b"INSERT INTO outbox", b"COMMIT"), answer=True)

    with proxy.as_default(), pytest.raises(CommandError) as raised:
        call_command("enqueue_jobs", "--customer", "A", "--package-size", "1", "--count", "2")

    assert Kept.UNKNOWN.sentence in str(raised.value)
    assert Job.objects.count() == 2
    assert any(str(job.pk) in str(raised.value) for job in Job.objects.all())


def test_chunk_of_bulk_operation_is_done_once(proxy: CuttingProxy, settings: Any) -> None:
    """The chunk's changes and their record are one transaction: what was saved is not done again."""
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    jobs = [factories.job(status=Status.FAILED) for _ in range(3)]
    operation = freezing.freeze(
        kind_of("requeue"), Job.objects.filter(pk__in=[job.pk for job in jobs]), OLGA, scope="failed jobs"
    )
    decisions.begin(operation, OLGA, "mended")
    proxy.cut((b"INSERT INTO outbox", b"COMMIT"), answer=True)

    with proxy.as_default():
        assert not chunks.work(BulkOperation.objects.get(pk=operation.pk), "runner")
    assert proxy.cuts == 1

    BulkOperation.objects.update(due_at=Now(), leased_until=Now())
    chunks.work(BulkOperation.objects.get(pk=operation.pk), "runner")
    operation.refresh_from_db()
    assert (operation.state, operation.done, operation.failed) == (BulkOperation.State.ENDED, 3, 0)
    assert set(Job.objects.values_list("run_epoch", flat=True)) == {2}
