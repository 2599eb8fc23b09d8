"""Tests of retention: rows are deleted after their retention, never before, with any batch size."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from jobs.models import (
    BulkMember,
    BulkOperation,
    IdempotencyKey,
    Outbox,
    RunProgress,
    Status,
    Sweep,
    WorkerHeartbeat,
)
from jobs.watch import batched_deletes, retention
from jobs.watch.batched_deletes import KeptRows
from opsconsole.kit.removals import kept
from tests import factories

pytestmark = pytest.mark.django_db

NOTHING = {
    "sweeps": 0,
    "messages": 0,
    "dead letters": 0,
    "failure groups": 0,
    "workers": 0,
    "kept answers": 0,
    "bulk members": 0,
    "bulk previews": 0,
    "progress of runs": 0,
    "rollups of runs": 0,
}
MOMENT = timedelta(seconds=30)


def sweep(age: timedelta) -> Sweep:
    return Sweep.objects.create(trigger="schedule", mode=Sweep.Mode.ARMED, started_at=Now() - age)


@pytest.fixture(params=[1, 2, 5_000])
def batch(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(batched_deletes, "BATCH", request.param)
    return int(request.param)


def test_nothing_is_deleted_without_old_rows() -> None:
    sweep(timedelta(0))
    factories.letter(factories.job(), state=Outbox.State.SENT)
    factories.beat("alive")
    assert retention.prune() == NOTHING


@pytest.mark.usefixtures("batch")
def test_old_sweeps_are_deleted() -> None:
    for _ in range(3):
        sweep(kept("SWEEPS") + MOMENT)
    young = sweep(kept("SWEEPS") - MOMENT)
    assert retention.prune() == NOTHING | {"sweeps": 3}
    assert list(Sweep.objects.all()) == [young]


@pytest.mark.usefixtures("batch")
def test_progress_of_ended_runs_is_deleted() -> None:
    old, young = kept("PROGRESS") + MOMENT, kept("PROGRESS") - MOMENT
    goes_on = factories.run(epoch=2)
    for job_id, epoch, age in [
        (goes_on.pk, 1, old),
        (goes_on.pk, 2, old),
        (factories.job(status=Status.COMPLETED).pk, 1, old),
        (factories.job(status=Status.COMPLETED).pk, 1, young),
    ]:
        RunProgress.objects.create(job_id=job_id, run_epoch=epoch, percent=1, began_at=Now() - age)
    assert retention.prune() == NOTHING | {"progress of runs": 2}
    assert RunProgress.objects.count() == 2
    assert RunProgress.objects.filter(job_id=goes_on.pk, run_epoch=2).exists()


@pytest.mark.usefixtures("batch")
def test_only_settled_messages_are_deleted() -> None:
    old, young = kept("MESSAGES") + MOMENT, kept("MESSAGES") - MOMENT
    for age in (old, young):
        for state in Outbox.State.values:
            done = factories.job(status=Status.COMPLETED)
            factories.letter(done, due=age, state=state, created_at=Now() - age)
    assert retention.prune() == NOTHING | {"messages": 2}
    left = Outbox.objects.filter(available_at__lt=Now() - kept("MESSAGES"))
    assert sorted(left.values_list("state", flat=True)) == [Outbox.State.REFUSED, Outbox.State.WAITING]
    assert Outbox.objects.count() == 6


def test_message_of_waiting_run_is_kept_for_its_resend_count() -> None:
    old = kept("MESSAGES") + MOMENT
    waiting = factories.job(run_epoch=2)
    sent: dict[str, Any] = {"due": old, "created_at": Now() - old, "state": Outbox.State.SENT}
    factories.letter(waiting, **sent, run_epoch=1)
    current = factories.letter(waiting, **sent, resends=3)
    assert retention.prune() == NOTHING | {"messages": 1}
    assert list(Outbox.objects.all()) == [current]


REFERS = """
CREATE TABLE registrations (worker text REFERENCES worker_heartbeats (worker_id));
INSERT INTO registrations VALUES ('referred to')
"""
KEEPS = """
CREATE FUNCTION keep_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep_it BEFORE DELETE ON worker_heartbeats FOR EACH ROW
  WHEN (OLD.worker_id LIKE 'kept%') EXECUTE FUNCTION keep_it()
"""


@pytest.mark.usefixtures("batch")
def test_rows_that_the_database_keeps_are_told_and_keep_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = retention.WORKERS_KEPT + MOMENT
    for worker in ("kept 1", "kept 2", "kept 3", "referred to", "z 1", "z 2"):
        factories.beat(worker, ago=old)
    stored = IdempotencyKey.objects.create(caller="c", key="1", request="r", answer={})
    IdempotencyKey.objects.filter(pk=stored.pk).update(created_at=Now() - timedelta(days=30))
    with connection.cursor() as cursor:
        cursor.execute(REFERS)
        cursor.execute(KEEPS)

    kept = KeptRows()
    deleted = retention.prune(kept)
    with pytest.raises(SystemExit) as ended:
        call_command("retention")
    told = import_string("jobs.tasks.prune")()

    assert deleted == NOTHING | {"workers": 2, "kept answers": 1}
    assert sorted(WorkerHeartbeat.objects.values_list("pk", flat=True)) == [
        "kept 1",
        "kept 2",
        "kept 3",
        "referred to",
    ]
    for said in (" ".join(kept.sentences), capsys.readouterr().out, told):
        assert (
            "workers: 3 rows could not be removed, by a trigger that returns NULL, or a row-level policy"
            in said
        )
        assert (
            "workers: 1 row could not be removed, by constraint 'registrations_worker_fkey' of table" in said
        )
    assert ended.value.code == 1


def test_old_messages_are_found_by_their_key() -> None:
    done = factories.job(status=Status.COMPLETED)
    with connection.cursor() as cursor:
        # Of six days, each later than the one before.
        cursor.execute(
            """INSERT INTO outbox (job_id, run_epoch, state, created_at, available_at)
               SELECT %s, n, 'sent', at, at
                 FROM generate_series(1, 20000) AS n, LATERAL (SELECT now() - (20001 - n) * interval '25 seconds') AS written (at)""",
            [done.pk],
        )
        cursor.execute("ANALYZE outbox")

    plan = retention.old_messages().explain()

    assert "Index Cond: (id <" in plan and "Seq Scan on outbox" not in plan


@pytest.mark.usefixtures("batch")
def test_dead_workers_are_deleted_unless_needed_by_open_run() -> None:
    old = retention.WORKERS_KEPT + MOMENT
    factories.beat("gone-1", ago=old)
    factories.beat("gone-2", factories.job(status="completed").pk, 1, ago=old)
    factories.beat("young", ago=retention.WORKERS_KEPT - MOMENT)
    factories.run(age=old, silent=old, worker="evidence")
    assert retention.prune() == NOTHING | {"workers": 2}
    assert sorted(WorkerHeartbeat.objects.values_list("pk", flat=True)) == ["evidence", "young"]


def unconfirmed(state: str, age: timedelta, **fields: Any) -> BulkOperation:
    operation = BulkOperation.objects.create(
        action="requeue", scope="all", actor="operator:ada", state=state, choice="x", **fields
    )
    BulkOperation.objects.filter(pk=operation.pk).update(created_at=Now() - age)
    BulkMember.objects.create(operation=operation, subject="a")
    return operation


def test_preview_that_is_still_being_prepared_is_deleted_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that was away for long must not go on with a preparation of which members are gone."""
    old, young = retention.PREVIEWS_KEPT + MOMENT, retention.PREVIEWS_KEPT - MOMENT
    abandoned = unconfirmed("freezing", old)
    goes_on = unconfirmed("freezing", young)
    states: list[str] = []
    delete = batched_deletes.delete

    def look_and_delete(rows: Any, subject: str, kept_rows: KeptRows) -> int:
        found = BulkOperation.objects.filter(pk=abandoned.pk).values_list("state", "choice")
        states.extend(f"{state}{choice}" for state, choice in found)
        return delete(rows, subject, kept_rows)

    monkeypatch.setattr(retention, "delete", look_and_delete)
    assert retention.prune() == NOTHING | {"bulk members": 1, "bulk previews": 1}
    # Nobody could have gone on with it since before its first member went.
    assert set(states) == {"preview"}
    assert list(BulkOperation.objects.values_list("pk", "state")) == [(goes_on.pk, "freezing")]


def test_members_of_a_cancelled_preparation_are_deleted_as_those_of_a_preview() -> None:
    old, young = retention.PREVIEWS_KEPT + MOMENT, retention.PREVIEWS_KEPT - MOMENT
    unconfirmed("cancelled", old, ended_at=Now() - old)
    unconfirmed("cancelled", old, ended_at=Now() - young)
    unconfirmed("cancelled", old, ended_at=Now() - old, begun_at=Now() - old)

    assert retention.prune() == NOTHING | {"bulk members": 1}
    assert BulkOperation.objects.count() == 3


def test_idempotent_answers_older_than_a_day_are_deleted() -> None:
    for number, hours in enumerate((1, 25)):
        made = IdempotencyKey.objects.create(caller="c", key=str(number), request="r", answer={})
        IdempotencyKey.objects.filter(pk=made.pk).update(created_at=Now() - timedelta(hours=hours))

    assert retention.prune() == NOTHING | {"kept answers": 1}
    assert IdempotencyKey.objects.get().key == "0"
