"""Tests of the life of a bulk operation: it is frozen, confirmed, and does each member once, in chunks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from jobs import tasks
from jobs.bulk import chunks, decisions, freezing
from jobs.bulk.kinds import BulkRefused
from jobs.bulk.registry import KINDS, kind_of
from jobs.models import BulkEvent, BulkMember, BulkOperation, Job, JobEvent, Outbox, Status
from jobs.operations.steps import JobAction
from jobs.runs.timeline import Actor
from jobs.watch import retention
from opsconsole.kit.removals import kept
from tests.factories import SECOND, beat, job, run
from tests.jobs.bulk.helpers import (
    ADA,
    REASON,
    begun,
    chunk,
    finish,
    fresh,
    make_due,
    many,
    outcomes,
    preview,
    told,
)

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
State = BulkOperation.State


@pytest.fixture(autouse=True)
def _small(settings: Any) -> None:
    """Use chunks of four and no trial."""
    settings.OPSCONSOLE_BULK_PACE = 4
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    settings.OPSCONSOLE_BULK_AT_ONCE = 2


def test_preview_freezes_matching_rows_and_changes_nothing() -> None:
    failed = many(3)
    waiting = job()
    operation = preview()
    assert (operation.state, operation.total, operation.will, operation.capped) == ("preview", 4, 3, False)
    assert list(operation.members.filter(will=True).values_list("subject", "seen_status", "seen_epoch")) == [
        (str(each.pk), "failed", 1) for each in failed
    ]
    [left_out] = operation.members.filter(will=False)
    assert (left_out.subject, left_out.sentence) == (str(waiting.pk), "It is already waiting.")
    assert not JobEvent.objects.exists() and not Outbox.objects.exists()


def test_preview_counts_by_reason() -> None:
    many(3)
    many(2, status=Status.COMPLETED)
    run(age=2 * HOUR, silent=HOUR)
    run(age=60 * SECOND, silent=SECOND, worker="alive")
    operation = preview()

    will = [
        (group.seen_status, group.seen_reason, group.count) for group in freezing.groups(operation, will=True)
    ]
    skipped = {group.seen_status: group for group in freezing.groups(operation, will=False)}

    assert will == [("failed", "", 3), ("in_progress", "dead_worker", 1)]
    assert skipped["completed"].count == 2
    assert skipped["completed"].example == "It is completed: nothing to do."
    assert "It runs" in skipped["in_progress"].example
    assert [member.seen_status for member in freezing.sample(operation, 2)] == ["failed", "failed"]


def test_rows_that_match_later_are_not_touched() -> None:
    early = many(5)
    operation = begun()
    late = many(3)
    finish(operation)
    assert set(Job.objects.filter(status="pending")) == set(early)
    assert set(Job.objects.filter(status="failed")) == set(late)
    assert not JobEvent.objects.filter(job__in=late).exists()


@pytest.mark.parametrize(("count", "total", "capped"), [(4, 4, False), (5, 5, False), (6, 5, True)])
def test_preview_over_the_cap_takes_the_oldest_and_says_so(
    settings: Any, count: int, total: int, *, capped: bool
) -> None:
    settings.OPSCONSOLE_BULK_MOST = 5
    jobs = [job(status=Status.FAILED, created_at=Now() - number * SECOND) for number in range(count)]
    operation = preview()
    assert (operation.total, operation.will, operation.capped) == (total, total, capped)
    oldest_first = [str(each.pk) for each in reversed(jobs)]
    assert list(operation.members.order_by("id").values_list("subject", flat=True)) == oldest_first[:total]


def test_nothing_is_counted_beyond_the_cap(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_MOST = 5
    many(20)
    with CaptureQueriesContext(connection) as queries:
        preview()
    of_jobs = [query["sql"] for query in queries if 'FROM "jobs"' in query["sql"]]
    assert of_jobs and all("LIMIT 6" in sql or "IN (" in sql for sql in of_jobs)


def test_empty_selection_is_an_empty_preview() -> None:
    operation = freezing.freeze(kind_of("requeue"), Job.objects.none(), ADA, scope="nothing")
    assert (operation.total, operation.will) == (0, 0)
    with pytest.raises(BulkRefused, match="Nothing in this preview can be done"):
        decisions.begin(operation, ADA, REASON)


@pytest.mark.parametrize("action", list(JobAction))
def test_each_action_carries_out_its_preview(action: str) -> None:
    statuses = {"requeue": Status.FAILED, "cancel": Status.PENDING, "release": Status.QUARANTINED}
    jobs = many(6, status=statuses[action])
    operation = finish(begun(action=action))
    assert (operation.state, operation.done, operation.remaining) == ("ended", 6, 0)
    assert outcomes(operation) == {"done": 6}
    after = "cancelled" if action == "cancel" else "pending"
    assert set(Job.objects.values_list("status", flat=True)) == {after}
    events = JobEvent.objects.filter(job__in=jobs)
    assert {(event.actor, event.user_id, event.reason) for event in events} == {("operator:ada", 7, REASON)}
    assert {event.details["bulk_operation"] for event in events} == {operation.pk}
    assert events.count() == 6
    assert Outbox.objects.count() == (0 if action == "cancel" else 6)


def test_every_decision_is_recorded() -> None:
    many(5)
    operation = begun()
    decisions.cancel(operation, Actor.operator("bob", 8), "wrong customer")
    decisions.resume(operation, ADA, "the right one after all")
    finish(operation)
    events = list(BulkEvent.objects.values_list("kind", "actor", "user_id", "reason"))
    assert events == [
        ("begun", "operator:ada", 7, REASON),
        ("cancelled", "operator:bob", 8, "wrong customer"),
        ("resumed", "operator:ada", 7, "the right one after all"),
        ("ended", "console", None, ""),
    ]


@pytest.mark.parametrize("statement", ["UPDATE bulk_events SET reason = ''", "DELETE FROM bulk_events"])
def test_decisions_are_append_only(statement: str) -> None:
    many(1)
    begun()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        connection.cursor().execute(statement)


@pytest.mark.parametrize(("count", "typing"), [(1, False), (2, False), (3, True)])
def test_large_number_of_members_must_be_typed(count: int, *, typing: bool) -> None:
    many(count)
    operation = preview()
    assert decisions.must_be_typed(operation) is typing
    if typing:
        with pytest.raises(BulkRefused, match="Type 3 to confirm that you mean 3 jobs"):
            decisions.begin(operation, ADA, REASON)
    decisions.begin(operation, ADA, REASON, typed=str(count))
    assert fresh(operation).state == "running"


@pytest.mark.parametrize("typed", ["4,812", "4812", "4 812", "4.812", "4'812"])
def test_typed_number_may_have_separators(typed: str) -> None:
    many(3)
    operation = preview()
    operation.will = 4_812
    decisions.begin(operation, ADA, REASON, typed=typed)
    assert fresh(operation).state == "running"


@pytest.mark.parametrize("typed", ["", "2", "4", "three", "33", "-3"])
def test_wrong_number_begins_nothing(typed: str) -> None:
    many(3)
    operation = preview()
    with pytest.raises(BulkRefused, match="Type 3"):
        decisions.begin(operation, ADA, REASON, typed=typed)
    assert fresh(operation).state == "preview" and not OrmQ.objects.exists()


@pytest.mark.parametrize("reason", ["", " \n "])
def test_each_decision_needs_a_reason(reason: str) -> None:
    many(1)
    operation = preview()
    for decide in (decisions.begin, decisions.cancel, decisions.resume):
        with pytest.raises(BulkRefused, match="Give a reason"):
            decide(operation, ADA, reason)
    assert not BulkEvent.objects.exists()


def test_preview_is_confirmed_once() -> None:
    many(1)
    operation = preview()
    decisions.begin(operation, ADA, REASON)
    with pytest.raises(BulkRefused, match="was confirmed before"):
        decisions.begin(operation, ADA, REASON)
    assert told(operation) == ["begun"]


def test_preview_can_only_be_confirmed_by_its_author() -> None:
    many(1)
    operation = preview()
    with pytest.raises(BulkRefused, match="belongs to another user"):
        decisions.begin(operation, Actor.operator("bob", 8), REASON)


@pytest.mark.parametrize(("age", "valid"), [(3_599, True), (3_601, False)])
def test_preview_lasts_an_hour(age: int, *, valid: bool) -> None:
    many(1)
    operation = preview()
    BulkOperation.objects.update(created_at=Now() - age * SECOND)
    if valid:
        decisions.begin(operation, ADA, REASON)
    else:
        with pytest.raises(BulkRefused, match="older than an hour"):
            decisions.begin(operation, ADA, REASON)


def test_beginning_wakes_the_cluster_in_the_same_transaction() -> None:
    many(1)
    operation = preview()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        decisions.begin(operation, ADA, REASON)
        assert OrmQ.objects.count() == 1
        raise ZeroDivisionError
    assert not OrmQ.objects.exists() and fresh(operation).state == "preview"


def test_task_repeats_until_all_due_chunks_are_done(monkeypatch: Any) -> None:
    many(9)
    operation = begun()
    OrmQ.objects.all().delete()
    monkeypatch.setattr(chunks, "SLICE_SECONDS", 0.01)
    assert tasks.bulk() == "there is more to do"
    assert (OrmQ.objects.count(), fresh(operation).done) == (1, 4)
    finish(operation)
    assert tasks.bulk() == "nothing is due"
    assert OrmQ.objects.count() == 1


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        at: datetime = cursor.fetchone()[0]
        return at


def test_chunk_size_is_pace_per_second() -> None:
    many(9)
    operation = begun()
    began = database_time()
    assert chunk(operation)
    ended = database_time()
    after = fresh(operation)
    assert after.done == 4
    assert began + SECOND <= after.due_at <= ended + SECOND
    # However slow this test is.
    BulkOperation.objects.update(due_at=Now() + HOUR)
    assert not chunks.work(fresh(operation), "runner-1"), "the next is not due before the second is over"


def test_another_runner_waits_until_the_lease_ends() -> None:
    many(9)
    operation = begun()
    chunk(operation, "runner-1")
    assert not chunk(operation, "runner-2")
    make_due(operation)
    assert chunk(operation, "runner-2")
    assert not chunk(operation, "runner-1")
    assert fresh(operation).done == 8


def test_runner_that_stops_releases_the_operation(settings: Any) -> None:
    many(9)
    operation = begun()
    assert chunks.run(seconds=0.01) is True
    assert fresh(operation).done == 4 and fresh(operation).runner == ""
    assert chunk(operation, "runner-2")


def test_members_changed_since_the_preview_are_skipped_with_a_reason() -> None:
    kept, completed, requeued, gone = many(4)
    operation = begun()
    Job.objects.filter(pk=completed.pk).update(status=Status.COMPLETED)
    Job.objects.filter(pk=requeued.pk).update(run_epoch=2)
    Job.objects.filter(pk=gone.pk).delete()
    operation = finish(operation)
    assert (operation.done, operation.skipped, operation.failed) == (1, 3, 0)
    sentences = dict(operation.members.values_list("subject", "sentence"))
    assert sentences == {
        str(kept.pk): "Queued for run 2.",
        str(completed.pk): "It changed in the meantime: now completed, run 1.",
        str(requeued.pk): "It changed in the meantime: now failed, run 2.",
        str(gone.pk): "It no longer exists in the database.",
    }


def test_worker_that_beats_after_the_preview_keeps_its_run() -> None:
    made = run(age=2 * HOUR, silent=HOUR)
    operation = begun()
    beat("worker-1", made.pk, 1)
    operation = finish(operation)
    assert (operation.done, operation.skipped) == (0, 1)
    assert Job.objects.get(pk=made.pk).status == "in_progress"


def test_members_skipped_in_preview_stay_skipped() -> None:
    many(1)
    waiting = job()
    operation = begun()
    Job.objects.filter(pk=waiting.pk).update(status=Status.FAILED)
    operation = finish(operation)
    assert (operation.done, operation.skipped) == (1, 1)
    assert Job.objects.get(pk=waiting.pk).status == "failed"


def test_member_refused_by_database_fails_alone() -> None:
    jobs = many(6)
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE jobs ADD CONSTRAINT odd CHECK (package_size <> 13 OR status <> 'pending')"
        )
    Job.objects.filter(pk=jobs[1].pk).update(package_size=13)
    operation = finish(begun())
    assert (operation.state, operation.done, operation.failed) == ("ended", 5, 1)
    [failed] = operation.members.filter(outcome="failed")
    assert failed.subject == str(jobs[1].pk) and "The database refused it" in failed.sentence
    assert Job.objects.get(pk=jobs[1].pk).status == "failed"


def test_cancel_stops_before_the_next_chunk_and_resume_goes_on() -> None:
    many(9)
    operation = begun()
    chunk(operation)
    decisions.cancel(operation, ADA, "wait")
    assert not chunk(operation)
    assert (fresh(operation).state, fresh(operation).done, fresh(operation).remaining) == ("cancelled", 4, 5)
    decisions.resume(operation, ADA, "go on")
    operation = finish(operation)
    assert (operation.state, operation.done) == ("ended", 9)
    assert JobEvent.objects.count() == Outbox.objects.count() == 9


@pytest.mark.parametrize("state", [State.PREVIEW, State.RUNNING, State.ENDED])
def test_only_cancelled_or_stopped_operations_can_be_resumed(state: str) -> None:
    many(1)
    operation = begun()
    BulkOperation.objects.update(state=state)
    with pytest.raises(BulkRefused, match="Nothing was changed"):
        decisions.resume(operation, ADA, REASON)
    assert told(operation) == ["begun"]


@pytest.mark.parametrize("state", [State.PREVIEW, State.CANCELLED, State.STOPPED, State.ENDED])
def test_only_running_operations_can_be_cancelled(state: str) -> None:
    many(1)
    operation = begun()
    BulkOperation.objects.update(state=state)
    with pytest.raises(BulkRefused, match="Nothing was changed"):
        decisions.cancel(operation, ADA, REASON)
    assert told(operation) == ["begun"]


def test_failed_chunk_is_rolled_back_and_retried(monkeypatch: Any) -> None:
    many(9)
    operation = begun()
    chunk(operation)
    real = chunks._settle

    def broken(*_: Any) -> Any:
        raise DatabaseError("disk full\nand more")

    monkeypatch.setattr(chunks, "_settle", broken)
    assert not chunk(operation)
    now = fresh(operation)
    assert (now.state, now.troubles, now.done) == ("running", 1, 4)
    assert JobEvent.objects.count() == Outbox.objects.count() == 4, "the chunk was undone with its record"
    monkeypatch.setattr(chunks, "_settle", real)
    operation = finish(operation)
    assert (operation.done, operation.troubles) == (9, 0)
    assert JobEvent.objects.count() == Outbox.objects.count() == 9


def test_too_many_errors_in_a_row_stop_the_operation_with_a_reason(monkeypatch: Any) -> None:
    many(2)
    operation = begun()

    def broken(*_: Any) -> Any:
        raise DatabaseError("disk full\nand more")

    monkeypatch.setattr(chunks, "_settle", broken)
    operation = finish(operation)
    assert (operation.state, operation.troubles) == ("stopped", chunks.MOST_TROUBLES)
    assert operation.sentence.endswith("failed in a row, the last one with: disk full")
    assert told(operation) == ["begun", "stopped"]


def test_unknown_action_stops_operation_with_reason() -> None:
    many(1)
    operation = begun()
    BulkOperation.objects.update(action="teleport")
    operation = finish(operation)
    assert (
        operation.state == "stopped" and "does not know the bulk operation 'teleport'" in operation.sentence
    )


def test_each_kind_names_a_permission_that_exists() -> None:
    from django.contrib.auth.models import Permission

    for kind in KINDS.values():
        app, codename = kind.permission.split(".")
        assert Permission.objects.filter(content_type__app_label=app, codename=codename).exists()
        assert kind_of(kind.action) is kind


def test_members_without_an_answer_count_as_failed(monkeypatch: Any) -> None:
    many(2)
    operation = begun()
    monkeypatch.setitem(KINDS, "requeue", _silent(KINDS["requeue"]))
    operation = finish(operation)
    assert (operation.state, operation.failed) == ("ended", 2)


def _silent(kind: Any) -> Any:
    from dataclasses import replace

    return replace(kind, carry_out=lambda _order: [])


def test_pruning_deletes_abandoned_previews_and_old_members() -> None:
    many(3)
    abandoned, recent = preview(), preview()
    long_ago = finish(begun())
    running_still = begun(many(1))
    long = kept("MEMBERS") + HOUR
    BulkOperation.objects.filter(pk=abandoned.pk).update(created_at=Now() - retention.PREVIEWS_KEPT - HOUR)
    BulkOperation.objects.filter(pk=long_ago.pk).update(created_at=Now() - long, ended_at=Now() - long)
    BulkOperation.objects.filter(pk=running_still.pk).update(created_at=Now() - long)
    done = retention.prune()
    assert (done["bulk members"], done["bulk previews"]) == (6, 1)
    assert set(BulkOperation.objects.all()) == {recent, long_ago, running_still}
    assert set(BulkMember.objects.values_list("operation_id", flat=True)) == {recent.pk, running_still.pk}
