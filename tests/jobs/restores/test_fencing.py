"""Tests of ``recovery_mode restored``: everything from before is fenced, pending jobs are sent again, and suspects listed."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError
from django.db.models.functions import Now

from jobs.management.commands import recovery_mode
from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, Outbox, RecoveryControl, Restore, Status
from jobs.recovery import control
from jobs.restores import fencing, suspects
from jobs.restores.fencing import FURTHEST_BACK, RestoreRefused
from jobs.restores.suspects import Evidence, FencedJob
from jobs.runs.timeline import Actor
from opsconsole.kit import audit, job_ids, row_locks
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Refusal, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.conftest import TestQueue
from tests.other_sessions import other_session

pytestmark = pytest.mark.django_db

OLGA = Actor.operator("olga", None)
REASON = "Restored the backup of 08:00."


def restored(**options: Any) -> fencing.Fencing:
    return fencing.restored(OLGA, REASON, **options)


def called(*words: str) -> str:
    out = StringIO()
    call_command("recovery_mode", "restored", "--reason", REASON, "--as", "olga", *words, stdout=out)
    return out.getvalue()


def epoch(job: Job) -> int:
    return Job.objects.get(pk=job.pk).run_epoch


@pytest.fixture(autouse=True)
def queue(sqs_queue: TestQueue) -> TestQueue:
    control.arm(OLGA, "tested", None)
    return sqs_queue


def test_nothing_is_fenced_without_its_line_of_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise InternalError("the audit can't be written")

    waiting = factories.job(run_epoch=3)
    monkeypatch.setattr(audit, "log_command", refuse)
    with pytest.raises((CommandError, InternalError)):
        called()
    assert epoch(waiting) == 3
    assert not Restore.objects.exists()
    assert RecoveryControl.load().armed


class TestFence:
    def test_nothing_from_before_counts(self) -> None:
        """Refuse the worker, the message and the epoch + n of the time that was lost."""
        running = factories.run(worker="w2", epoch=2)
        waiting = factories.job(run_epoch=3)

        restore = restored().restore

        assert epoch(running) == epoch(waiting) == restore.fence >= FURTHEST_BACK
        ada, later = Worker("w2"), Worker("w9")
        for old in (2, 3, 4, 50):
            assert heartbeats.beat(ada, running.pk, old) is Verdict.SUPERSEDED
            assert not lifecycle.complete(Run(running.pk, old, ada))
            assert lifecycle.claim(waiting.pk, old, later) == Refused(Refusal.SUPERSEDED)
        assert Job.objects.get(pk=running.pk).status == Status.IN_PROGRESS

    def test_pending_jobs_are_sent_again(self, queue: TestQueue) -> None:
        waiting = factories.job(run_epoch=3)
        factories.letter(waiting, state="sent", sent_at=Now())
        later = factories.job(not_before=Now() + timedelta(hours=1))

        restore = restored().restore

        assert dispatcher.dispatch().sent == 1
        [body] = queue.bodies()
        message = json.loads(body)
        assert (message["job_id"], message["run_epoch"]) == (str(waiting.pk), restore.fence)
        assert (message["retry"], message["reason"]) == (True, "restored")
        held = Outbox.objects.get(job_id=later.pk)
        assert held.available_at == Job.objects.get(pk=later.pk).not_before
        assert isinstance(lifecycle.claim(waiting.pk, restore.fence, Worker("w3")), RunningJob)

    def test_recovery_is_disarmed_and_each_change_is_told(self) -> None:
        job = factories.run(worker="w2", epoch=2)
        restore = restored().restore
        state = RecoveryControl.load()
        assert (state.mode, state.changed_by, state.reason) == ("observe", "operator:olga", REASON)
        event = JobEvent.objects.get(job_id=job.pk)
        assert (event.kind, event.run_epoch, event.actor, event.reason) == (
            "fenced",
            restore.fence,
            "operator:olga",
            REASON,
        )
        assert event.details == {
            "restore": restore.pk,
            "was": "in_progress",
            "from_epoch": 2,
            "worker": "w2",
        }

    def test_jobs_that_may_run_again_are_fenced_and_completed_ones_are_not(self) -> None:
        jobs = {status: factories.job(status=status, run_epoch=2) for status in Status}
        unknown = factories.job(status="archived", run_epoch=2)
        restore = restored().restore
        assert {status for status, job in jobs.items() if epoch(job) == 2} == {Status.COMPLETED}
        assert epoch(unknown) == 2
        assert (restore.fenced_running, restore.fenced_waiting, restore.fenced_ended) == (1, 1, 3)

    def test_dead_letter_that_waits_to_be_sent_is_still_sent(self, queue: TestQueue) -> None:
        dead = factories.job(status=Status.FAILED, run_epoch=2)
        factories.letter(dead, destination="dlq")
        restore = restored().restore
        assert dispatcher.dispatch().sent == 1
        [body] = queue.bodies(queue.dlq_url)
        assert json.loads(body)["run_epoch"] == restore.fence

    def test_run_of_our_protocol_stays_one(self) -> None:
        """Keep what the evidence of life rests on: who claimed the run, and since when."""
        ours, theirs = factories.run(age=timedelta(hours=1)), factories.run(claimed=False)
        restore = restored().restore
        after = Job.objects.get(pk=ours.pk)
        assert after.claimed_epoch == restore.fence
        assert (after.started_at, after.updated_at, after.worker_id) == (
            ours.started_at,
            ours.updated_at,
            ours.worker_id,
        )
        assert Job.objects.get(pk=theirs.pk).claimed_epoch is None

    def test_a_second_restore_of_one_backup_repeats_no_epoch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        job = factories.job()
        first = restored().restore.fence
        Restore.objects.all().delete()
        Job.objects.filter(pk=job.pk).update(run_epoch=1)
        # The clock shows the same, and only the store remembers.
        second = restored().restore.fence
        assert second >= first + FURTHEST_BACK


class TestAgain:
    def test_second_call_changes_nothing(self) -> None:
        job = factories.job()
        first = restored()
        assert (first.begun, first.locked) == (True, 0)
        assert isinstance(lifecycle.claim(job.pk, epoch(job), Worker("w3")), RunningJob)
        second = restored()
        assert not second.begun
        assert second.restore == first.restore
        assert heartbeats.verdict(job.pk, epoch(job), Worker("w3")) is Verdict.GO_ON
        assert JobEvent.objects.filter(kind="fenced").count() == 1

    def test_again_fences_once_more(self) -> None:
        job = factories.job()
        first = restored().restore.fence
        assert restored(again=True).restore.fence > first
        assert epoch(job) > first
        assert Outbox.objects.filter(job_id=job.pk).count() == 2

    def test_interrupted_fencing_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = [factories.job() for _ in range(5)]
        monkeypatch.setattr(fencing, "BATCH", 2)
        page = fencing._fence_page
        calls: list[UUID] = []

        def break_down(restore: Restore, behind: UUID, given: Any) -> Any:
            if calls:
                raise KeyboardInterrupt
            calls.append(behind)
            return page(restore, behind, given)

        with monkeypatch.context() as patched:
            patched.setattr(fencing, "_fence_page", break_down)
            with pytest.raises(KeyboardInterrupt):
                restored()
        assert Restore.objects.get().finished_at is None
        assert len({epoch(job) for job in jobs}) == 2

        done = restored()

        assert not done.begun
        assert done.restore.finished_at
        assert {epoch(job) for job in jobs} == {done.restore.fence}
        assert done.restore.fenced_waiting == 5
        assert JobEvent.objects.filter(kind="fenced").count() == 5

    def test_runs_from_after_the_restore_are_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(fencing, "_fence_all", lambda *args, **options: set())
            restored()
        Restore.objects.update(finished_at=None, began_at=Now() - timedelta(hours=1))
        newer = factories.run(age=timedelta(minutes=5))
        Job.objects.filter(pk=newer.pk).update(created_at=Now() - timedelta(minutes=5))
        restored()
        assert epoch(newer) == newer.run_epoch

    @pytest.mark.parametrize("begun", [True, False])
    def test_foreign_times_are_not_trusted(self, monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
        if not begun:
            with monkeypatch.context() as patched:
                patched.setattr(fencing, "_fence_all", lambda *args, **options: set())
                restored()
            Restore.objects.update(finished_at=None)
        running, waiting = factories.run(), factories.job()
        Job.objects.update(created_at=Now() + timedelta(minutes=5))
        restore = restored().restore
        assert restore.finished_at
        assert epoch(running) == epoch(waiting) == restore.fence
        assert [row.job_id for row in Outbox.objects.all()] == [waiting.pk]

    @pytest.mark.django_db(transaction=True)
    def test_locked_job_is_counted_and_fenced_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        RecoveryControl.objects.get_or_create(pk=1)
        control.arm(OLGA, "tested", None)
        monkeypatch.setattr(row_locks, "WAIT", timedelta(milliseconds=100))
        locked, free = factories.job(), factories.job()
        with other_session() as stranger:
            stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [locked.pk])
            done = restored()
            assert (done.locked, done.restore.finished_at) == (1, None)
            assert (epoch(locked), epoch(free)) == (1, done.restore.fence)
            with pytest.raises(SystemExit):
                called()
        assert "Everything was fenced at" in called()
        assert Restore.objects.get().finished_at
        assert epoch(locked) == done.restore.fence

    def test_reason_is_required(self) -> None:
        with pytest.raises(RestoreRefused, match="Give a reason"):
            fencing.restored(OLGA, " ")
        assert not Restore.objects.exists()


class TestOperatorTells:
    def test_completed_jobs_are_not_sent_again(self, tmp_path: Path) -> None:
        done, waiting = factories.job(run_epoch=2), factories.job()
        file = tmp_path / "ids"
        file.write_text(f"{done.pk}\n{uuid4()}\n")
        said = called("--completed", str(file))
        assert "Completed, because you said so: 1 now, 1 in all." in said
        job = Job.objects.get(pk=done.pk)
        assert job.status == Status.COMPLETED
        assert job.completed_at
        event = JobEvent.objects.get(job_id=done.pk)
        assert (event.kind, event.actor, event.details["told_by_operator"]) == (
            "completed",
            "operator:olga",
            True,
        )
        assert [row.job_id for row in Outbox.objects.all()] == [waiting.pk]

    def test_ids_with_blanks_name_no_other_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As texts, '7' and 'order 7' are two jobs. Where one is named, the other must still be sent again."""
        monkeypatch.setattr(job_ids, "parse", str)
        file = tmp_path / "ids"
        file.write_bytes("\ufeff order 7\r\n\n order 8\r\n".encode())
        assert recovery_mode._ids(file) == {"order 7", "order 8"}

    def test_they_may_be_told_later(self, tmp_path: Path) -> None:
        job = factories.run()
        restored()
        file = tmp_path / "ids"
        file.write_text(str(job.pk))
        called("--completed", str(file))
        assert Job.objects.get(pk=job.pk).status == Status.COMPLETED

    def test_told_job_may_have_a_foreign_time(self) -> None:
        job = factories.run(created_at=Now() + timedelta(minutes=5))
        assert restored(completed=[job.pk]).told_completed == 1

    @pytest.mark.django_db(transaction=True)
    def test_locked_job_refuses_no_other(self, tmp_path: Path) -> None:
        RecoveryControl.objects.get_or_create(pk=1)
        control.arm(OLGA, "tested", None)
        locked, free, waiting = factories.job(), factories.run(), factories.job()
        file = tmp_path / "ids"
        file.write_text(f"{locked.pk}\n{free.pk}\n")
        with other_session() as stranger:
            stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [locked.pk])
            out = StringIO()
            with pytest.raises(SystemExit) as ended:
                call_command(
                    "recovery_mode", "restored", "--reason", REASON, "--completed", str(file), stdout=out
                )
        assert ended.value.code == 1
        assert "1 job not fenced or completed: locked by other transactions, or kept from" in out.getvalue()
        restore = Restore.objects.get()
        assert (restore.finished_at, restore.told_completed) == (None, 1)
        assert epoch(waiting) == restore.fence
        assert Job.objects.get(pk=free.pk).status == Status.COMPLETED
        # A job of which the operator knows that it was done is not sent again.
        assert [row.job_id for row in Outbox.objects.all()] == [waiting.pk]

        called("--completed", str(file))

        restore.refresh_from_db()
        assert restore.finished_at
        assert restore.told_completed == 2
        assert Job.objects.get(pk=locked.pk).status == Status.COMPLETED

    @pytest.mark.django_db(transaction=True)
    def test_job_that_is_freed_meanwhile_is_completed_and_not_sent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        control.arm(OLGA, "tested", None)
        job = factories.job()
        fence_all = fencing._fence_all
        with other_session() as stranger:
            stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [job.pk])

            def freed(*args: Any, **options: Any) -> set[UUID]:
                stranger.rollback()
                return fence_all(*args, **options)

            monkeypatch.setattr(fencing, "_fence_all", freed)
            done = restored(completed=[job.pk])
        assert (done.locked, done.told_completed) == (0, 1)
        assert not Outbox.objects.exists()

    @pytest.mark.parametrize("text", ["no-id", None])
    def test_invalid_file_changes_nothing(self, tmp_path: Path, text: str | None) -> None:
        file = tmp_path / "ids"
        if text:
            file.write_text(text)
        with pytest.raises(CommandError, match="Nothing was done"):
            called("--completed", str(file))
        assert not Restore.objects.exists()


class TestSuspects:
    def test_list_names_jobs_and_evidence(self, queue: TestQueue) -> None:
        running = factories.run(worker="w2", epoch=2)
        taken = factories.job()
        factories.letter(taken, state="sent", sent_at=Now())
        never_sent = factories.job()
        beaten = factories.job(run_epoch=2)
        factories.beat("w5", beaten.pk, 2)
        failed_later = factories.job(run_epoch=2)
        factories.dead_letter(failed_later, run_epoch=3)
        reported = factories.run(worker="w7", epoch=2)

        restored()
        lifecycle.complete(Run(reported.pk, 2, Worker("w7")))
        answer = json.loads(called("--json"))

        found = {each["job_id"]: each["evidence"] for each in answer["may_have_completed"]}
        assert found == {
            str(running.pk): "running",
            str(taken.pk): "message_taken",
            str(beaten.pk): "heartbeat",
            str(failed_later.pk): "dead_letter",
            str(reported.pk): "late_result",
        }
        assert str(never_sent.pk) not in found
        assert answer["queues"] == [{"queue": "default", "waiting": 1, "depth": 0, "taken": 1}]
        text = called()
        assert "Worker w7 reported after the restore that it had completed it." in text
        assert "at least 1 were taken since" in text

    def test_messages_that_are_still_there_prove_nothing(self) -> None:
        jobs = [_fenced(message_was_sent=True) for _ in range(3)]
        suspicion = suspects.judge(jobs, {"default": 1})
        assert not suspicion.jobs
        assert suspicion.queues[0].taken == 2

    def test_unknown_depth_is_not_zero(self) -> None:
        suspicion = suspects.judge([_fenced(message_was_sent=True)], {"default": None})
        assert not suspicion.jobs
        assert "it is unknown how many were taken" in suspicion.queues[0].sentence

    def test_strongest_evidence_comes_first(self) -> None:
        jobs = [_fenced(was="in_progress"), _fenced(was="in_progress", late_result="worker:w2")]
        found = suspects.judge(jobs, {}).jobs
        assert [each.evidence for each in found] == [Evidence.LATE_RESULT, Evidence.RUNNING]


def _fenced(**known: Any) -> FencedJob:
    fields: dict[str, Any] = {
        "id": uuid4(),
        "queue": "default",
        "status": "pending",
        "was": "pending",
        "from_epoch": 2,
        "worker": None,
        "late_result": None,
        "letter_epoch": None,
        "beating_worker": None,
        "message_was_sent": False,
    }
    return FencedJob(**fields | known)
