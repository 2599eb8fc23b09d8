"""Tests of the bulk operation command: the filters of the lists, a dry run, and exit codes."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django_q.models import OrmQ

from jobs.bulk import background_freezing, chunks
from jobs.management.commands import bulk_operation
from jobs.models import BulkEvent, BulkMember, BulkOperation, Job, JobEvent, Status
from tests.factories import run
from tests.jobs.bulk.helpers import REASON, begun, chunk, fresh, many

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _fast(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_PACE = 10_000
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0


def called(*words: str) -> str:
    out = StringIO()
    call_command("bulk_operation", *words, stdout=out)
    return out.getvalue()


def statuses() -> list[str]:
    return sorted(Job.objects.values_list("status", flat=True))


def test_dry_run_prints_the_plan_and_stores_nothing() -> None:
    failed = many(3)
    many(2, status=Status.COMPLETED)
    said = called("requeue", "--all", "--dry-run")
    assert "Requeue (all rows of the list): 3 jobs of 5." in said
    assert "will          3  failed: Will wait for run 2" in said
    assert "skip          2  completed: It is completed: nothing to do." in said
    assert all(str(each.pk) in said for each in failed)
    assert said.endswith("Nothing was changed.\n")
    assert not BulkOperation.objects.exists() and not BulkMember.objects.exists()
    assert statuses() == ["completed"] * 2 + ["failed"] * 3


def test_many_rows_are_frozen_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_freezing, "AT_ONCE", 2)
    monkeypatch.setattr(background_freezing, "PAGE", 2)
    many(5)
    said = called("requeue", "--all", "--dry-run")
    assert "will          5  failed: Will wait for run 2" in said
    assert not BulkOperation.objects.exists() and not BulkMember.objects.exists()

    called("requeue", "--all", "--reason", REASON, "--wait")
    operation = BulkOperation.objects.get()
    assert (operation.state, operation.done, operation.total) == ("ended", 5, 5)


def test_preview_that_cannot_be_prepared_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_freezing, "AT_ONCE", 1)
    monkeypatch.setattr(chunks, "MOST_TROUBLES", 1)
    prepare = background_freezing.prepare

    def signed_by_another(*given: Any, **named: Any) -> BulkOperation:
        operation = prepare(*given, **named)
        BulkOperation.objects.update(choice="SELECT 1:of another")
        return operation

    monkeypatch.setattr(background_freezing, "prepare", signed_by_another)
    many(2)
    with pytest.raises(
        CommandError, match=r"could not be prepared. Nothing was changed. Stopped automatically"
    ):
        called("requeue", "--all", "--reason", REASON)
    assert statuses() == ["failed"] * 2


def test_without_wait_the_cluster_carries_out_the_operation() -> None:
    many(3)
    said = called("requeue", "--status", "failed", "--reason", REASON, "--as", "ada")
    operation = BulkOperation.objects.get()
    assert f"Bulk operation {operation.pk} has begun." in said
    assert (operation.state, operation.actor, operation.scope, operation.query) == (
        "running",
        "operator:ada",
        "status: Failed",
        "status=failed",
    )
    assert OrmQ.objects.count() == 1 and statuses() == ["failed"] * 3


def test_wait_works_on_operation_in_process() -> None:
    theirs = many(2, customer_id="ACME")
    many(2, customer_id="OTHER")
    said = called("requeue", "--status", "failed", "--customer", "ACME", "--reason", REASON, "--wait")
    assert "Ended: 2 done, 0 skipped, 0 failed, 0 left." in said
    assert set(Job.objects.filter(status="pending")) == set(theirs)
    assert {event.reason for event in JobEvent.objects.all()} == {REASON}


def test_filters_equal_those_of_the_list() -> None:
    run(age=2 * HOUR, silent=HOUR)
    many(1)
    assert "1 job of 1." in called("requeue", "--stale", "dead_worker", "--dry-run")
    many(2, worker_id="w-1", error_message="TypeError: no address")
    typed = ["--worker", "w-1", "--error", "typeerror", "--since", "2020-01-01"]
    assert "worker: w-1, error: typeerror, created from: 2020-01-01 00:00:00 UTC): 2 jobs of 2." in called(
        "requeue", *typed, "--dry-run"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["requeue"], "at least one filter"),
        (["requeue", "--all", "--status", "failed"], "at least one filter"),
        (
            ["requeue", "--status", "faild"],
            "--status faild is none of: pending, waiting, scheduled, in_progress",
        ),
        (["requeue", "--since", "yesterday"], "--since yesterday is none of: a time, such as 2026-11-27"),
        (["requeue", "--state", "kept"], "has no filter --state; it has --status"),
        (["requeue", "--customer", "deadbeef"], "no jobs of a customer 'deadbeef'"),
        (["teleport", "--all"], "does not know the bulk operation 'teleport'"),
        (["--cancel", "4711"], "There is no bulk operation 4711."),
        ([], "Give exactly one of these"),
        (["requeue", "--all", "--cancel", "1"], "Give exactly one of these"),
    ],
)
def test_invalid_arguments_are_refused_with_message(words: list[str], said: str) -> None:
    many(1)
    with pytest.raises(CommandError, match=said):
        called(*words, "--reason", REASON)
    assert not BulkOperation.objects.exists() and statuses() == ["failed"]


@pytest.mark.parametrize("reason", [[], ["--reason", "  "]])
def test_reason_is_required(reason: list[str]) -> None:
    many(1)
    with pytest.raises(CommandError, match="Give a --reason"):
        called("requeue", "--all", *reason)


def test_nothing_to_do_is_an_error() -> None:
    many(1, status=Status.COMPLETED)
    with pytest.raises(CommandError, match="Nothing in this preview can be done"):
        called("requeue", "--all", "--reason", REASON)


def test_cancel_and_resume(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_PACE = 2
    many(5)
    operation = begun()
    chunk(operation)
    assert "stops after its current chunk" in called(
        "--stop", str(operation.pk), "--reason", "wait", "--as", "bob"
    )
    assert fresh(operation).state == "cancelled"
    with pytest.raises(CommandError, match="Its state is now “stopped”"):
        called("--cancel", str(operation.pk), "--reason", "again")
    settings.OPSCONSOLE_BULK_PACE = 10_000
    BulkOperation.objects.update(runner="", leased_until="2026-01-01T00:00Z")
    assert "Ended: 5 done" in called("--resume", str(operation.pk), "--reason", "go on", "--wait")
    assert list(BulkEvent.objects.values_list("actor", flat=True))[1] == "operator:bob"


def test_stopped_operation_exits_with_error(monkeypatch: Any) -> None:
    many(1)

    def stops(**_: Any) -> bool:
        BulkOperation.objects.update(state="stopped", sentence="Stopped automatically: look.")
        return False

    monkeypatch.setattr(chunks, "run", stops)
    monkeypatch.setattr(bulk_operation, "LOOK_SECONDS", 0.0)
    with pytest.raises(CommandError, match="Not everything was done"):
        called("requeue", "--all", "--reason", REASON, "--wait")
