"""Tests of claim, complete, fail and progress: a run has one winner, a late result changes nothing (I1, I9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import F
from django.db.models.functions import Now

from jobs.messaging import outbox
from jobs.models import Job, JobEvent, Outbox, Status, WorkerHeartbeat
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.runs.restart import restart
from jobs.runs.timeline import Actor
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Failure, Refusal, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.factories import SECOND
from tests.racing import race

pytestmark = pytest.mark.django_db

ADA = Worker("ada")
BOB = Worker("bob")
OPERATOR = Actor.operator("operator", None)
Kind = JobEvent.Kind


def claimed(worker: Worker = ADA, **fields: Any) -> Run:
    """Return a run that this worker has just claimed."""
    job = lifecycle.claim(factories.job(**fields).pk, None, worker)
    assert isinstance(job, RunningJob)
    return Run(job.id, job.epoch, worker)


def superseded(worker: Worker = ADA) -> Run:
    """Return a run of this worker whose job Bob has claimed since."""
    run = claimed(worker)
    restart(Job.objects.filter(pk=run.job_id))
    assert isinstance(lifecycle.claim(run.job_id, run.epoch + 1, BOB), RunningJob)
    return run


def kinds(run: Run) -> list[str]:
    return list(JobEvent.objects.filter(job_id=run.job_id).values_list("kind", flat=True))


def row(run: Run) -> Mapping[str, Any]:
    return Job.objects.filter(pk=run.job_id).values().get()


class TestClaim:
    def test_takes_the_run_and_says_so(self) -> None:
        waiting = factories.job(run_epoch=4, completed_at=Now())
        claimed = lifecycle.claim(waiting.pk, 4, ADA)
        assert isinstance(claimed, RunningJob)
        assert (claimed.id, claimed.epoch) == (waiting.pk, 4)
        job = Job.objects.get(pk=waiting.pk)
        assert (job.status, job.run_epoch, job.claimed_epoch, job.worker_id) == (
            Status.IN_PROGRESS,
            4,
            4,
            "ada",
        )
        assert job.started_at is not None
        assert job.completed_at is None
        beat = WorkerHeartbeat.objects.get(worker_id="ada")
        assert (beat.current_job_id, beat.current_run_epoch) == (job.pk, 4)
        event = JobEvent.objects.get(job_id=job.pk)
        assert (event.kind, event.run_epoch, event.actor) == (Kind.CLAIMED, 4, "worker:ada")

    def test_message_without_epoch_claims_pending_run(self) -> None:
        waiting = factories.job(run_epoch=7)
        assert isinstance(lifecycle.claim(waiting.pk, None, ADA), RunningJob)
        assert Job.objects.get(pk=waiting.pk).claimed_epoch == 7

    @pytest.mark.parametrize(
        ("fields", "message_epoch", "refusal", "settled"),
        [
            ({"run_epoch": 3}, 2, Refusal.SUPERSEDED, True),
            ({"run_epoch": 3}, 4, Refusal.AHEAD, False),
            ({"status": Status.IN_PROGRESS, "claimed_epoch": 1}, 1, Refusal.ALREADY_CLAIMED, True),
            ({"status": Status.IN_PROGRESS, "claimed_epoch": 1}, None, Refusal.ALREADY_CLAIMED, True),
            ({"status": Status.IN_PROGRESS}, 1, Refusal.NOT_WAITING, False),
            ({"status": Status.IN_PROGRESS}, None, Refusal.NOT_WAITING, False),
            ({"status": Status.FAILED, "claimed_epoch": 1}, 1, Refusal.ALREADY_CLAIMED, True),
            ({"status": Status.FAILED}, 1, Refusal.NOT_WAITING, False),
            ({"status": Status.QUARANTINED, "run_epoch": 2, "claimed_epoch": 2}, 1, Refusal.SUPERSEDED, True),
            ({"status": Status.COMPLETED}, None, Refusal.ENDED, True),
            ({"status": Status.COMPLETED}, 9, Refusal.ENDED, True),
            ({"status": Status.CANCELLED}, 1, Refusal.ENDED, True),
            ({"status": "archived"}, 1, Refusal.NOT_WAITING, False),
        ],
    )
    def test_refused(
        self, fields: dict[str, Any], message_epoch: int | None, refusal: Refusal, settled: bool
    ) -> None:
        job = factories.job(**fields)
        before = Job.objects.filter(pk=job.pk).values().get()
        refused = lifecycle.claim(job.pk, message_epoch, ADA)
        assert refused == Refused(refusal)
        assert refusal.settled is settled
        assert Job.objects.filter(pk=job.pk).values().get() == before
        assert not JobEvent.objects.exists()

    def test_unknown_job_is_refused_but_not_settled(self) -> None:
        assert lifecycle.claim(uuid4(), 1, ADA) == Refused(Refusal.UNKNOWN_JOB)
        assert not Refusal.UNKNOWN_JOB.settled

    @pytest.mark.parametrize("message_epoch", [1, None])
    def test_too_early_is_told_how_long_to_wait(self, message_epoch: int | None) -> None:
        job = factories.job(not_before=Now() + timedelta(minutes=2))
        refused = lifecycle.claim(job.pk, message_epoch, ADA)
        assert isinstance(refused, Refused)
        assert refused.refusal is Refusal.TOO_EARLY
        assert not refused.refusal.settled
        assert timedelta(minutes=1) < refused.retry_in <= timedelta(minutes=2)

    def test_run_may_start_once_its_time_has_come(self) -> None:
        job = factories.job(not_before=Now())
        assert isinstance(lifecycle.claim(job.pk, 1, ADA), RunningJob)


class TestRedriveOutsideTheConsole:
    @pytest.mark.parametrize("status", [Status.FAILED, Status.QUARANTINED])
    def test_copy_of_a_dead_letter_starts_its_job_once(self, status: Status) -> None:
        dead = factories.job(status=status, run_epoch=2, claimed_epoch=2, attempts=3, recovery_count=3)
        assert isinstance(lifecycle.claim(dead.pk, 2, ADA, dead_letter_id="letter"), RunningJob)
        job = Job.objects.get(pk=dead.pk)
        assert (job.run_epoch, job.attempts, job.recovery_count) == (3, 0, 0)
        events = JobEvent.objects.filter(job_id=dead.pk).values_list("kind", "run_epoch", "actor")
        assert list(events) == [
            (Kind.REQUEUED, 3, "external redrive"),
            (Kind.CLAIMED, 3, "worker:ada"),
        ]
        assert lifecycle.claim(dead.pk, 2, BOB, dead_letter_id="letter") == Refused(Refusal.SUPERSEDED)

    def test_old_copy_has_no_effect_when_the_job_dies_again(self) -> None:
        dead = factories.job(status=Status.FAILED, run_epoch=2, claimed_epoch=2)
        job = lifecycle.claim(dead.pk, 2, ADA, dead_letter_id="letter")
        assert isinstance(job, RunningJob)
        lifecycle.fail(Run(dead.pk, 3, ADA), "no", retryable=False)
        assert lifecycle.claim(dead.pk, 2, BOB, dead_letter_id="letter") == Refused(Refusal.SUPERSEDED)

    @pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED, Status.IN_PROGRESS])
    def test_only_dead_jobs_are_started_again(self, status: Status) -> None:
        job = factories.job(status=status, run_epoch=2, claimed_epoch=2)
        refused = lifecycle.claim(job.pk, 2, ADA, dead_letter_id="letter")
        assert isinstance(refused, Refused)
        assert refused.refusal.settled
        assert not JobEvent.objects.exists()

    def test_failed_job_is_not_started_again_by_an_ordinary_message(self) -> None:
        job = factories.job(status=Status.FAILED, run_epoch=2, claimed_epoch=2)
        assert lifecycle.claim(job.pk, 2, ADA) == Refused(Refusal.ALREADY_CLAIMED)


class TestComplete:
    def test_completion_ends_the_run_and_frees_the_worker(self) -> None:
        run = claimed(error_message="an earlier run failed")
        assert lifecycle.complete(run, {"submitted": 50})
        job = Job.objects.get(pk=run.job_id)
        assert (job.status, job.error_message) == (Status.COMPLETED, None)
        assert job.completed_at is not None
        assert kinds(run) == [Kind.CLAIMED, Kind.COMPLETED]
        assert JobEvent.objects.get(kind=Kind.COMPLETED).details["submitted"] == 50
        assert WorkerHeartbeat.objects.get(worker_id="ada").current_job_id is None

    def test_said_twice_because_the_answer_was_lost(self) -> None:
        run = claimed()
        assert lifecycle.complete(run)
        after_first = row(run)
        assert lifecycle.complete(run)
        assert row(run) == after_first
        assert kinds(run) == [Kind.CLAIMED, Kind.COMPLETED]

    def test_late_result_of_a_superseded_run_changes_nothing(self) -> None:
        run = superseded()
        before = row(run)
        assert not lifecycle.complete(run, {"submitted": 50})
        assert row(run) == before
        event = JobEvent.objects.get(kind=Kind.LATE_RESULT_REJECTED)
        assert (event.run_epoch, event.actor) == (1, "worker:ada")
        assert event.details == {"tried": "completed", "job": {"status": "in_progress", "epoch": 2}}
        assert WorkerHeartbeat.objects.get(worker_id="bob").current_job_id == run.job_id
        assert WorkerHeartbeat.objects.get(worker_id="ada").current_job_id is None

    @pytest.mark.parametrize("status", [Status.CANCELLED, Status.QUARANTINED, "archived"])
    def test_result_of_a_run_that_was_ended_by_others_is_refused(self, status: str) -> None:
        run = claimed()
        Job.objects.update(status=status)
        assert not lifecycle.complete(run)
        assert row(run)["status"] == status
        assert kinds(run)[-1] == Kind.LATE_RESULT_REJECTED

    def test_result_for_a_job_that_was_deleted_is_kept_as_an_event(self) -> None:
        run = claimed()
        Job.objects.all().delete()
        assert not lifecycle.complete(run)
        assert JobEvent.objects.get(kind=Kind.LATE_RESULT_REJECTED).details["job"] == {"status": None}


class TestFail:
    @pytest.mark.parametrize(
        ("earlier", "expected"),
        [(0, Failure.RETRY), (1, Failure.RETRY), (2, Failure.FAILED), (3, Failure.FAILED)],
        ids=["first", "one before the last", "last", "over"],
    )
    def test_attempts(self, earlier: int, expected: Failure, settings: Any) -> None:
        settings.OPSCONSOLE_MAX_ATTEMPTS = 3
        run = claimed(attempts=earlier)
        assert lifecycle.fail(run, "it broke") is expected
        assert Job.objects.get(pk=run.job_id).attempts == earlier + 1

    def test_retry_waits_for_its_time_and_has_its_message(self, settings: Any) -> None:
        settings.OPSCONSOLE_RETRY_BACKOFF_SECONDS = 30
        run = claimed(attempts=1)
        assert lifecycle.fail(run, "it broke") is Failure.RETRY
        job = Job.objects.annotate(wait=F("not_before") - Now()).get(pk=run.job_id)
        assert (job.status, job.run_epoch, job.claimed_epoch, job.worker_id) == (
            Status.PENDING,
            2,
            None,
            None,
        )
        assert (job.started_at, job.error_message) == (None, "it broke")
        assert 40 * SECOND < job.wait <= 67 * SECOND
        message = Outbox.objects.get(job_id=run.job_id)
        assert (message.run_epoch, message.retry, message.reason) == (2, True, outbox.RETRY_AFTER_FAILURE)
        # The message is never available before not_before, so that its receiver can claim the run.
        assert job.not_before and timedelta(0) <= message.available_at - job.not_before < 60 * SECOND
        event = JobEvent.objects.get(kind=Kind.RETRY_SCHEDULED)
        assert (event.run_epoch, event.reason, event.details["next_epoch"]) == (1, "it broke", 2)

    def test_permanent_failure_is_sent_to_dead_letter_queue(self) -> None:
        run = claimed()
        assert lifecycle.fail(run, "no such customer", retryable=False) is Failure.FAILED
        job = Job.objects.get(pk=run.job_id)
        assert (job.status, job.run_epoch, job.error_message) == (Status.FAILED, 1, "no such customer")
        letter = Outbox.objects.get(job_id=run.job_id)
        assert (letter.destination, letter.run_epoch) == (Outbox.Destination.DLQ, 1)
        assert kinds(run) == [Kind.CLAIMED, Kind.FAILED]

    @pytest.mark.parametrize("retryable", [True, False])
    def test_said_twice_because_the_answer_was_lost(self, retryable: bool) -> None:
        run = claimed()
        first = lifecycle.fail(run, "it broke", retryable=retryable)
        after_first = row(run)
        assert lifecycle.fail(run, "it broke", retryable=retryable) is first
        assert row(run) == after_first
        assert Outbox.objects.count() == 1
        assert Kind.LATE_RESULT_REJECTED not in kinds(run)

    def test_late_failure_of_a_superseded_run_changes_nothing(self) -> None:
        run = superseded()
        before = row(run)
        assert lifecycle.fail(run, "it broke") is Failure.REJECTED
        assert row(run) == before
        assert not Outbox.objects.exists()
        event = JobEvent.objects.get(kind=Kind.LATE_RESULT_REJECTED)
        assert (event.reason, event.details["tried"]) == ("it broke", "failed")

    def test_failure_after_a_completion_is_late(self) -> None:
        run = claimed()
        lifecycle.complete(run)
        assert lifecycle.fail(run, "it broke") is Failure.REJECTED
        assert row(run)["status"] == Status.COMPLETED

    def test_text_that_postgresql_refuses_is_made_storable(self) -> None:
        run = claimed()
        lifecycle.fail(run, "NUL \x00 and a lone surrogate \udc80" + "x" * 20_000, retryable=False)
        message = row(run)["error_message"]
        assert message.startswith("NUL  and a lone surrogate ?xxx")
        assert len(message) == lifecycle.ERROR_LENGTH

    @pytest.mark.parametrize(
        ("failures", "seconds"), [(1, 30), (2, 60), (3, 120), (7, 1_920), (8, 3_600), (10_000, 3_600)]
    )
    def test_backoff_doubles_up_to_an_hour_and_is_spread(
        self, failures: int, seconds: int, settings: Any
    ) -> None:
        settings.OPSCONSOLE_RETRY_BACKOFF_SECONDS = 30
        pauses = {lifecycle.backoff(failures) for _ in range(20)}
        assert all(0.9 * seconds * SECOND <= pause <= 1.1 * seconds * SECOND for pause in pauses)
        assert len(pauses) > 1


class TestProgress:
    def test_note_is_stored_with_its_run(self) -> None:
        run = claimed()
        assert lifecycle.note(run, "12 of 50 submitted\x00", reference="batch-\udc809")
        event = JobEvent.objects.get(kind=Kind.PROGRESS)
        assert (event.run_epoch, event.actor) == (1, "worker:ada")
        assert event.details == {"note": "12 of 50 submitted", "reference": "batch-?9", "late": False}

    def test_note_of_a_superseded_run_is_recorded_as_late(self) -> None:
        run = superseded()
        assert not lifecycle.note(run, "12 of 50 submitted")
        event = JobEvent.objects.get(kind=Kind.PROGRESS)
        assert (event.run_epoch, event.details["late"]) == (1, True)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_one_of_eight_workers_wins_a_run(self) -> None:
        job = factories.job()
        workers = [Worker(f"worker-{number}") for number in range(8)]
        answers = race([partial(lifecycle.claim, job.pk, 1, worker) for worker in workers])
        winners = [
            worker for worker, answer in zip(workers, answers, strict=True) if isinstance(answer, RunningJob)
        ]
        assert len(winners) == 1
        assert answers.count(Refused(Refusal.ALREADY_CLAIMED)) == 7
        assert Job.objects.get(pk=job.pk).worker_id == winners[0].id
        assert JobEvent.objects.get(job_id=job.pk).actor == f"worker:{winners[0].id}"
        assert WorkerHeartbeat.objects.get().worker_id == winners[0].id

    def test_one_of_four_redriven_copies_wins(self) -> None:
        dead = factories.job(status=Status.FAILED, run_epoch=2, claimed_epoch=2)
        answers = race(
            [
                partial(lifecycle.claim, dead.pk, 2, Worker(f"worker-{number}"), dead_letter_id="letter")
                for number in range(4)
            ]
        )
        assert sum(isinstance(answer, RunningJob) for answer in answers) == 1
        assert Job.objects.get(pk=dead.pk).run_epoch == 3
        assert JobEvent.objects.filter(kind=Kind.REQUEUED).count() == 1

    @pytest.mark.parametrize("round_", range(5))
    def test_completion_and_cancellation_exclude_each_other(self, round_: int) -> None:
        run = claimed()
        steps = job_operations.plan(JobAction.CANCEL, [run.job_id])
        counted, outcomes = race(
            [
                partial(lifecycle.complete, run),
                partial(job_operations.carry_out, steps, OPERATOR, "the customer asked for it"),
            ]
        )
        assert counted is not outcomes[0].done
        assert row(run)["status"] == (Status.COMPLETED if counted else Status.CANCELLED)
        told = Counter(kinds(run))
        assert told[Kind.COMPLETED] + told[Kind.CANCELLED] == 1
        assert told[Kind.LATE_RESULT_REJECTED] == (not counted)

    @pytest.mark.parametrize("round_", range(5))
    def test_completion_and_requeue_exclude_each_other(self, round_: int) -> None:
        run = claimed()
        counted, restarted = race(
            [
                partial(lifecycle.complete, run),
                lambda: restart(Job.objects.running().filter(pk=run.job_id, run_epoch=1)),
            ]
        )
        assert counted is not bool(restarted)
        assert row(run)["run_epoch"] == (1 if counted else 2)

    def test_failure_reported_by_two_threads_counts_once(self) -> None:
        run = claimed()
        assert race([partial(lifecycle.fail, run, "it broke")] * 4) == [Failure.RETRY] * 4
        assert row(run)["attempts"] == 1
        assert Outbox.objects.count() == 1
