"""Tests of handler execution: beats, progress notes and outcomes, also during a database outage."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, close_old_connections, connection

from jobs.models import Job, JobEvent, Outbox, Status, WorkerHeartbeat
from jobs.runs.restart import restart
from jobs.worker import Handler, PermanentError, RunContext, RunStopped
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working import outages
from opsconsole_worker.working.execution import carry_out
from opsconsole_worker.working.heartbeat_thread import Pulse
from opsconsole_worker.working.outages import Patience, insist
from tests import factories, worker_databases
from tests.waiting import wait_until

# Beats use their own connection, so they see only committed rows.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("each_way")]

ADA = Worker("ada")


class Panic(BaseException):
    """As bindings to other languages raise."""


Kind = JobEvent.Kind


@pytest.fixture(autouse=True)
def hurry(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 0.02
    monkeypatch.setattr(outages, "FIRST_PAUSE", timedelta(milliseconds=1))


def work(handler: Handler, **fields: Any) -> Job:
    """Claim a job, run it with this handler, and return its stored row."""
    made = factories.job(**fields)
    job = reporting.current().claim(made.pk, None, ADA, dead_letter_id=None, asked_before=False)
    assert isinstance(job, RunningJob)
    carry_out(job, ADA, handler)
    # The test's own connection may have been cut, and the worker may use another.
    close_old_connections()
    return Job.objects.get(pk=job.id)


def events(job: Job) -> list[str]:
    return list(JobEvent.objects.filter(job_id=job.pk).values_list("kind", flat=True))


def beats() -> Callable[[], bool]:
    """Return a condition that is true after the next beat of the worker."""
    before = WorkerHeartbeat.objects.get(worker_id="ada").last_heartbeat
    return lambda: WorkerHeartbeat.objects.get(worker_id="ada").last_heartbeat > before


def beating_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("beat ")]


class TestEndings:
    def test_return_value_of_handler_is_stored(self) -> None:
        job = work(lambda context: {"submitted": 50})
        assert job.status == Status.COMPLETED
        assert JobEvent.objects.get(kind=Kind.COMPLETED).details["submitted"] == 50

    def test_handler_receives_its_job(self) -> None:
        seen: list[Any] = []
        job = work(
            lambda context: seen.append(context.job),
            customer_id="TEST-007",
            package_size=150,
            priority_level="gold",
            payload={"site": "example.org"},
            run_epoch=3,
            attempts=2,
        )
        assert seen[0].__dict__ == {
            "id": job.pk,
            "customer_id": "TEST-007",
            "package_size": 150,
            "priority": "gold",
            "payload": {"site": "example.org"},
            "epoch": 3,
            "attempts": 2,
            "last_progress": None,
        }

    @pytest.mark.parametrize(
        ("result", "problem"),
        [
            ({"at": object()}, "it is not JSON"),
            ({"text": "\x00"}, "it has a NUL character"),
            ([1, 2], "a handler returns a dict or None, not list"),
        ],
    )
    def test_unstorable_result_still_completes_run(self, result: Any, problem: str) -> None:
        assert work(lambda context: result).status == Status.COMPLETED
        assert problem in JobEvent.objects.get(kind=Kind.COMPLETED).details["result_not_kept"]

    def test_exception_fails_the_run_and_is_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        def handler(context: RunContext) -> None:
            raise ValueError("the directory answered 502")

        job = work(handler)
        assert (job.status, job.run_epoch, job.attempts) == (Status.PENDING, 2, 1)
        assert job.error_message == "ValueError: the directory answered 502"
        assert events(job) == [Kind.CLAIMED, Kind.RETRY_SCHEDULED]
        assert "Traceback" in caplog.text
        assert "in handler" in caplog.text

    def test_permanent_error_is_not_retried(self) -> None:
        def handler(context: RunContext) -> None:
            raise PermanentError("the customer closed the account")

        job = work(handler)
        assert (job.status, job.attempts) == (Status.FAILED, 1)
        assert job.error_message == "PermanentError: the customer closed the account"
        assert Outbox.objects.get().destination == Outbox.Destination.DLQ

    def test_unprintable_exception_fails_only_its_run(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def handler(context: RunContext) -> None:
            raise Mute

        assert work(handler).status == Status.PENDING

    @pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt()])
    def test_handler_that_ends_the_program_has_its_run_reported_first(
        self, ending: SystemExit | KeyboardInterrupt
    ) -> None:
        def handler(context: RunContext) -> None:
            raise ending

        with pytest.raises(type(ending)):
            work(handler)
        job = Job.objects.get()
        assert (job.status, job.attempts) == (Status.PENDING, 1)
        assert job.error_message == ("SystemExit: 3" if ending.args else "KeyboardInterrupt")
        assert not beating_threads()

    @pytest.mark.parametrize("raised", [asyncio.CancelledError("late"), GeneratorExit(), Panic("of Rust")])
    def test_whatever_else_a_handler_raises_fails_only_its_run(self, raised: BaseException) -> None:
        def handler(context: RunContext) -> None:
            raise raised

        job = work(handler)
        assert (job.status, job.attempts) == (Status.PENDING, 1)
        assert type(raised).__name__ in (job.error_message or "")

    def test_worker_is_free_after_the_run(self) -> None:
        work(lambda context: None)
        assert WorkerHeartbeat.objects.get().current_job_id is None


class TestNotes:
    def test_notes_are_stored_with_their_run(self) -> None:
        job = work(lambda context: context.note("12 of 50 submitted", reference="batch-9"))
        event = JobEvent.objects.get(job_id=job.pk, kind=Kind.PROGRESS)
        said = {"note": "12 of 50 submitted", "reference": "batch-9", "once": "1", "late": False}
        assert event.details == said

    def test_note_raises_at_once_when_the_run_is_superseded(self, settings: Any) -> None:
        settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 60
        heard: list[bool] = []

        def handler(context: RunContext) -> None:
            Job.objects.update(status=Status.CANCELLED)
            heard.append(context.should_stop)
            context.note("12 of 50 submitted")
            heard.append(context.should_stop)

        work(handler)
        assert heard == [False, True]

    def test_note_whose_answer_was_lost_stands_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        place = type(reporting.current())
        kept, lost = place.note, [True, True, False, True, False]

        def answer_lost(*given: Any, **named: Any) -> bool:
            told = kept(*given, **named)
            if lost.pop(0):
                raise reporting.current().away[0]("the connection broke")
            return told

        monkeypatch.setattr(place, "note", answer_lost)

        def handler(context: RunContext) -> None:
            context.note("submitted to maps")
            context.note("submitted to maps")

        assert work(handler).status == Status.COMPLETED
        notes = (
            JobEvent.objects.filter(kind=Kind.PROGRESS).order_by("pk").values_list("details__once", flat=True)
        )
        assert list(notes) == ["1", "2"]

    def test_note_waits_for_the_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fail_times(monkeypatch, "note", 3)
        work(lambda context: context.note("12 of 50 submitted"))
        assert JobEvent.objects.filter(kind=Kind.PROGRESS).count() == 1


class TestBeats:
    def test_beats_continue_until_the_handler_ends(self) -> None:
        def handler(context: RunContext) -> None:
            for _ in range(2):
                wait_until(beats())
            assert len(beating_threads()) == 1

        assert work(handler).status == Status.COMPLETED
        assert not beating_threads()

    def test_beats_stop_when_the_handler_raises(self) -> None:
        def handler(context: RunContext) -> None:
            wait_until(beats())
            raise ValueError

        work(handler)
        assert not beating_threads()
        assert WorkerHeartbeat.objects.get().current_job_id is None

    def test_stop_when_their_owner_died(self) -> None:
        run = Run(factories.run(epoch=1, worker="ada").pk, 1, ADA)
        owner = threading.Thread(target=lambda: Pulse(run).__enter__())
        owner.start()
        owner.join()
        wait_until(lambda: not beating_threads())

    @pytest.mark.parametrize("status", [Status.CANCELLED, Status.PENDING])
    def test_beats_report_a_superseded_run(self, status: Status, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "opsconsole.worker")

        def handler(context: RunContext) -> None:
            context.check()
            if status == Status.CANCELLED:
                Job.objects.update(status=status)
            else:
                restart(Job.objects.all())
            wait_until(lambda: context.should_stop)
            context.check()

        job = work(handler)
        assert job.status == status
        assert events(job) == [Kind.CLAIMED]
        verdict = "cancelled" if status == Status.CANCELLED else "superseded"
        assert f"left: The run was {verdict}." in caplog.text

    def test_result_of_a_run_that_ignores_its_cancellation_is_refused(self) -> None:
        def handler(context: RunContext) -> None:
            Job.objects.update(status=Status.CANCELLED)
            wait_until(lambda: context.should_stop)
            wait_until(beats())
            assert WorkerHeartbeat.objects.get().current_job_id == context.job.id

        job = work(handler)
        assert job.status == Status.CANCELLED
        assert events(job) == [Kind.CLAIMED, Kind.LATE_RESULT_REJECTED]

    def test_stop_carries_the_verdict_of_the_beat(self) -> None:
        stopped = RunStopped(heartbeats.Verdict.SUPERSEDED)
        assert (stopped.verdict, str(stopped)) == ("superseded", "The run was superseded.")

    def test_beats_continue_after_an_outage_and_log_each_change_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        away = threading.Event()
        failures: list[int] = []
        real = heartbeats.beat

        def beat(*args: Any) -> Any:
            if away.is_set():
                failures.append(1)
                raise OperationalError("the connection is closed\nDETAIL: and so on")
            return real(*args)

        monkeypatch.setattr(heartbeats, "beat", beat)

        def handler(context: RunContext) -> None:
            away.set()
            wait_until(lambda: len(failures) >= 3)
            away.clear()
            wait_until(beats())

        assert work(handler).status == Status.COMPLETED
        first, last = worker_databases.outage("the connection is closed", tries=len(failures))
        said = [record.getMessage() for record in caplog.records if record.name == "opsconsole.worker"]
        assert said == [first, last]


class TestReports:
    def test_result_waits_for_the_database(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        fail_times(monkeypatch, "complete", 5)
        assert work(lambda context: {"submitted": 50}).status == Status.COMPLETED
        first, last = worker_databases.outage("the connection is closed", tries=5)
        said = [record.getMessage() for record in caplog.records if record.name == "opsconsole.worker"]
        assert said == [first, last]

    def test_failure_waits_for_the_database(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fail_times(monkeypatch, "fail", 5)

        def handler(context: RunContext) -> None:
            raise ValueError

        assert work(handler).attempts == 1

    def test_answer_lost_after_commit_is_not_a_late_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fail_times(monkeypatch, "complete", 1, after=True)
        job = work(lambda context: None)
        assert events(job) == [Kind.CLAIMED, Kind.COMPLETED]

    def test_every_connection_is_cut_mid_run(self) -> None:
        def handler(context: RunContext) -> dict[str, bool]:
            cut_connections()
            return {"worked": True}

        job = work(handler)
        assert events(job) == [Kind.CLAIMED, Kind.COMPLETED]

    def test_result_after_a_requeue_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fail_times(monkeypatch, "complete", 2, then=lambda: restart(Job.objects.all()))
        job = work(lambda context: None)
        assert (job.status, job.run_epoch) == (Status.PENDING, 2)
        assert events(job) == [Kind.CLAIMED, Kind.LATE_RESULT_REJECTED]

    def test_permanent_refusal_is_logged_and_left_to_recovery(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*args: Any) -> bool:
            raise IntegrityError("a CHECK of theirs")

        monkeypatch.setattr(lifecycle, "complete", refuse)
        assert work(lambda context: None).status == Status.IN_PROGRESS
        assert "the result can't be recorded" in caplog.text


def cut_connections() -> None:
    """Terminate all connections to the test database on the server, including this one."""
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " ORDER BY pid = pg_backend_pid()"
        )


def fail_times(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    times: int,
    *,
    after: bool = False,
    then: Callable[[], object] = lambda: None,
) -> None:
    """Make this lifecycle step fail as in an outage, before or after its effect; the last failure calls ``then``."""
    real = getattr(lifecycle, name)
    left = [times]

    def step(*args: Any, **kwargs: Any) -> Any:
        if not left[0]:
            return real(*args, **kwargs)
        left[0] -= 1
        if after:
            real(*args, **kwargs)
        if not left[0]:
            then()
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(lifecycle, name, step)


class TestPatience:
    def test_pauses_double_and_are_bounded_by_a_beat(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outages, "FIRST_PAUSE", timedelta(seconds=1))
        settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 10
        waiting = Patience("It")
        pauses = [waiting.failed(OSError("gone")) for _ in range(2_000)]
        bounds = [1, 2, 4, 8, *[10] * 1_996]
        assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))

    def test_pause_never_exceeds_half_a_minute(self, settings: Any) -> None:
        settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS = 300
        waiting = Patience("It")
        assert max(waiting.failed(OSError("gone")) for _ in range(100)) <= 30

    def test_another_trouble_is_another_line(self, caplog: pytest.LogCaptureFixture) -> None:
        waiting = Patience("It")
        for error in (OSError("gone"), OSError("gone"), ValueError("refused"), ValueError("refused")):
            waiting.failed(error)
        waiting.succeeded()
        waiting.succeeded()
        assert [record.getMessage() for record in caplog.records] == [
            "It does not answer, trying again: gone",
            "It does not answer, trying again: refused",
            "It answers again (failed tries: 4)",
        ]

    def test_programming_errors_are_not_retried(self) -> None:
        def mistaken() -> None:
            raise IntegrityError

        with pytest.raises(IntegrityError):
            insist(mistaken)
