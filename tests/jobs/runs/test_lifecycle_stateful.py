"""Stateful test: I1 and I2 hold for claims, beats, results, deaths, sweeps and operators in any order."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.intake.enqueue import NewJob, enqueue
from jobs.models import Job, JobEvent, Outbox, Status, WorkerHeartbeat
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import sweeps
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Run
from opsconsole_worker.runs.running_job import RunningJob
from tests.factories import forget_looks

Kind = JobEvent.Kind
WORKERS = [Worker("ada"), Worker("bob"), Worker("cleo")]
OPERATOR = Actor.operator("operator", None)
# The status that each kind of event leads to; the other kinds do not change the status.
STATUS_AFTER = {
    Kind.ENQUEUED: Status.PENDING,
    Kind.CLAIMED: Status.IN_PROGRESS,
    Kind.COMPLETED: Status.COMPLETED,
    Kind.RETRY_SCHEDULED: Status.PENDING,
    Kind.FAILED: Status.FAILED,
    Kind.RECOVERED: Status.PENDING,
    Kind.QUARANTINED: Status.QUARANTINED,
    Kind.REQUEUED: Status.PENDING,
    Kind.RELEASED: Status.PENDING,
    Kind.CANCELLED: Status.CANCELLED,
}
# An index into the runs claimed so far. Only the newest (-1) can be the current run.
some_run = st.sampled_from([-1, -1, -1, -2, 0])
RESTARTS = [Kind.RETRY_SCHEDULED, Kind.RECOVERED, Kind.REQUEUED, Kind.RELEASED]


class OneJob(RuleBasedStateMachine):
    """A job, three workers that may hold any run of it, a sweep, and an operator."""

    def __init__(self) -> None:
        super().__init__()
        WorkerHeartbeat.objects.all().delete()
        self.begin()

    def begin(self) -> None:
        self.id = enqueue(NewJob(customer_id="TEST-001", package_size=50)).pk
        self.runs: list[Run] = []

    @precondition(lambda self: self.job.status == Status.COMPLETED)
    @rule()
    def another_job(self) -> None:
        self.begin()

    @property
    def job(self) -> Job:
        return Job.objects.get(pk=self.id)

    def row(self) -> Mapping[str, Any]:
        return Job.objects.filter(pk=self.id).values().get()

    def pick(self, number: int) -> tuple[Run, bool]:
        """Return one of the runs claimed so far, and whether it is the current one."""
        run, job = self.runs[max(number, -len(self.runs))], self.job
        return run, job.status == Status.IN_PROGRESS and job.run_epoch == run.epoch

    @initialize(lives=st.integers(min_value=0, max_value=2))
    def earlier_runs_died(self, lives: int) -> None:
        for worker in WORKERS[:lives]:
            self.claim(worker, 0, None)
            self.an_hour_passes_and_the_sweep_looks(silent=True)

    @precondition(lambda self: self.job.status == Status.PENDING)
    @rule(worker=st.sampled_from(WORKERS), due=st.sampled_from([True, True, False]))
    def the_message_comes(self, worker: Worker, due: bool) -> None:
        if due:
            Job.objects.filter(pk=self.id).update(not_before=None)
        self.claim(worker, 0, None)

    @rule(
        worker=st.sampled_from(WORKERS),
        # Epochs behind the current one: 0 is current, -1 is in the future; None is a message of the old kind.
        back=st.sampled_from([0, 1, 2, -1, None]),
        letter=st.sampled_from([None, "letter"]),
    )
    def claim(self, worker: Worker, back: int | None, letter: str | None) -> None:
        before = self.job
        epoch = None if back is None else max(before.run_epoch - back, 1)
        dead = before.status in {Status.FAILED, Status.QUARANTINED} and epoch == before.run_epoch
        due = before.status == Status.PENDING and epoch in {None, before.run_epoch} and not before.not_before
        answer = lifecycle.claim(self.id, epoch, worker, dead_letter_id=letter)
        assert isinstance(answer, RunningJob) == (due or (dead and letter is not None))
        if isinstance(answer, RunningJob):
            self.runs.append(Run(self.id, answer.epoch, worker))

    @precondition(lambda self: self.runs)
    @rule(number=some_run)
    def beat_and_note(self, number: int) -> None:
        run, counts = self.pick(number)
        assert (heartbeats.beat(run.worker, self.id, run.epoch) is Verdict.GO_ON) == counts
        assert lifecycle.note(run, "12 of 50 submitted") == counts

    @precondition(lambda self: self.runs)
    @rule(number=some_run)
    def complete(self, number: int) -> None:
        run, counts = self.pick(number)
        before = self.row()
        counted = lifecycle.complete(run)
        assert counted == (counts or self.told(run, Kind.COMPLETED))
        assert counts or self.row() == before

    @precondition(lambda self: self.runs)
    @rule(number=some_run, retryable=st.sampled_from([True, True, False]))
    def fail(self, number: int, retryable: bool) -> None:
        run, counts = self.pick(number)
        before = self.row()
        failure = lifecycle.fail(run, "it broke", retryable=retryable)
        assert (failure is Failure.REJECTED) == (
            not counts and not self.told(run, Kind.FAILED, Kind.RETRY_SCHEDULED)
        )
        assert counts or self.row() == before

    @rule(silent=st.booleans())
    def an_hour_passes_and_the_sweep_looks(self, silent: bool) -> None:
        hour = timedelta(hours=1)
        Job.objects.filter(pk=self.id).update(
            updated_at=F("updated_at") - hour, started_at=F("started_at") - hour
        )
        WorkerHeartbeat.objects.update(last_heartbeat=Now() - hour if silent else Now())
        forget_looks()
        before = self.job
        alive = WorkerHeartbeat.objects.alive().filter(
            current_job_id=self.id, current_run_epoch=before.run_epoch
        )
        taken = before.status == Status.IN_PROGRESS and not alive.exists()
        sweeps.sweep("test")
        assert (self.job.status != before.status) == taken

    @rule(action=st.sampled_from(JobAction))
    def operate(self, action: JobAction) -> None:
        [step] = job_operations.plan(action, [self.id])
        [outcome] = job_operations.carry_out([step], OPERATOR, "a test")
        assert outcome.done == step.will

    def told(self, run: Run, *kinds: str) -> bool:
        actor = Actor.worker(run.worker.id).name
        return bool(self.events().filter(run_epoch=run.epoch, actor=actor, kind__in=kinds).exists())

    def events(self) -> Any:
        return JobEvent.objects.filter(job_id=self.id)

    @invariant()
    def each_run_is_won_once(self) -> None:
        won = [run.epoch for run in self.runs]
        assert won == sorted(set(won))
        assert list(self.events().filter(kind=Kind.CLAIMED).values_list("run_epoch", flat=True)) == won

    @invariant()
    def a_job_is_completed_once_at_the_most(self) -> None:
        assert self.events().filter(kind=Kind.COMPLETED).count() <= 1

    @invariant()
    def each_restart_and_nothing_else_raises_the_epoch(self) -> None:
        assert self.job.run_epoch == 1 + self.events().filter(kind__in=RESTARTS).count()

    @invariant()
    def the_timeline_tells_the_status(self) -> None:
        told = [kind for kind in self.events().values_list("kind", flat=True) if kind in STATUS_AFTER]
        assert self.job.status == STATUS_AFTER[Kind(told[-1])]

    @invariant()
    def whoever_waits_has_a_message_and_whoever_died_a_letter(self) -> None:
        job = self.job
        wishes = Outbox.objects.filter(job_id=self.id, run_epoch=job.run_epoch)
        if job.status == Status.PENDING:
            assert wishes.filter(destination=Outbox.Destination.QUEUE).count() == 1
        if job.status in {Status.FAILED, Status.QUARANTINED}:
            assert wishes.filter(destination=Outbox.Destination.DLQ).count() == 1


@pytest.mark.django_db
def test_any_order_of_events(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    run_state_machine_as_test(OneJob, settings=PROFILE)


PROFILE = settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    database=None,
    # No shrinking: it takes minutes on a real database, and the steps are readable without it.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
