"""Tests of the ``run_worker`` command: its refusals, and real processes that are stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from jobs.models import Job, JobEvent, Status, WorkerHeartbeat
from opsconsole_worker import sqs
from opsconsole_worker.messages import JobMessage
from tests import factories
from tests.conftest import TestQueue
from tests.other_sessions import other_session
from tests.programs import program
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 60.0

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        ("nowhere", "The handler 'nowhere' can't be imported: nowhere doesn't look like a module path."),
        ("no.such.module", "The handler 'no.such.module' can't be imported: No module named 'no'."),
        (
            "tests.jobs.worker.handlers.absent",
            "The handler 'tests.jobs.worker.handlers.absent' can't be imported: ",
        ),
        (
            "tests.jobs.worker.handlers.NOT_CALLABLE",
            "The handler 'tests.jobs.worker.handlers.NOT_CALLABLE' is not a function.",
        ),
        ("tests.jobs.worker.handlers.run_later", "is a coroutine; give a plain function."),
        ("tests.jobs.worker.handlers.take_nothing", "must take one argument, the run's context: "),
    ],
)
def test_invalid_handler_is_refused(handler: str, sentence: str, sqs_queue: TestQueue) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("run_worker", handler=handler)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"queue": "nowhere"}, "There is no queue named 'nowhere'. Known queues: default. Nothing was done."),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], sentence: str, sqs_queue: TestQueue) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("run_worker", handler="tests.jobs.worker.handlers.return_at_once", **options)
    assert str(refused.value) == sentence


def test_no_jobs_at_all_is_refused() -> None:
    with pytest.raises(CommandError, match="argument --max-jobs: give a whole number from 1 to"):
        call_command(
            "run_worker", "--handler", "tests.jobs.worker.handlers.return_at_once", "--max-jobs", "0"
        )


def test_missing_queue_names_the_setting(settings: Any) -> None:
    settings.QUEUES = {}
    with pytest.raises(CommandError, match="Known queues: none; set SQS_QUEUE_URL"):
        call_command("run_worker", handler="tests.jobs.worker.handlers.return_at_once")


@pytest.mark.django_db(transaction=True)
class TestProcess:
    @pytest.fixture(params=[("manage.py", "run_worker"), ("-m", "opsconsole_worker")], ids=" ".join)
    def start(self, request: pytest.FixtureRequest, sqs_queue: TestQueue) -> Iterator[Start]:
        """Yield a function that starts a worker on the test's database and queue; kill what still runs at the end.

        It is run_worker, or the worker without the console.
        """
        with ExitStack() as ends:

            def start(handler: str, *words: str) -> subprocess.Popen[bytes]:
                command = [
                    sys.executable,
                    *request.param,
                    "--handler",
                    f"tests.jobs.worker.handlers.{handler}",
                ]
                started = program([*command, *words], cwd=ROOT, env=environment(sqs_queue))
                return ends.enter_context(started)

            yield start

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Path:
        """Return the path of the file that ends ``handlers.wait_for_gate``."""
        return tmp_path / "gate"

    def test_sigterm_finishes_the_run_and_starts_no_other(
        self, start: Start, sqs_queue: TestQueue, gate: Path
    ) -> None:
        job, other = begin(sqs_queue, gate), begin(sqs_queue, gate)
        process = start("wait_for_gate")
        wait_until(lambda: has_begun(job) or has_begun(other), START_SECONDS)
        process.terminate()
        assert running() == 1
        gate.touch()
        assert process.wait(START_SECONDS) == 0
        assert sorted(Job.objects.values_list("status", flat=True)) == [Status.COMPLETED, Status.PENDING]
        assert sqs.depth(sqs_queue.url).total == 1
        assert not WorkerHeartbeat.objects.exists()

    def test_sigterm_stops_a_worker_that_waits_for_a_locked_row(
        self, start: Start, sqs_queue: TestQueue, gate: Path
    ) -> None:
        job = begin(sqs_queue, gate)
        with other_session() as stranger:
            stranger.execute("SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE", [job.pk])
            process = start("return_at_once")
            wait_until(waits_for_a_lock, START_SECONDS)
            process.terminate()
            assert process.wait(START_SECONDS) == 0
        assert Job.objects.get(pk=job.pk).status == Status.PENDING
        assert sqs.depth(sqs_queue.url).total == 1
        assert not WorkerHeartbeat.objects.exists()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_idle_worker_stops_on_signal(self, start: Start, number: signal.Signals) -> None:
        process = start("return_at_once")
        wait_until(WorkerHeartbeat.objects.exists, START_SECONDS)
        process.send_signal(number)
        assert process.wait(START_SECONDS) == 0
        assert not WorkerHeartbeat.objects.exists()

    def test_second_signal_ends_the_worker_at_once(
        self, start: Start, sqs_queue: TestQueue, gate: Path
    ) -> None:
        job = begin(sqs_queue, gate)
        process = start("wait_for_gate")
        wait_until(lambda: has_begun(job), START_SECONDS)

        def signalled_to_death() -> bool:
            process.terminate()
            return process.poll() is not None

        wait_until(signalled_to_death, START_SECONDS)
        assert process.returncode == -signal.SIGTERM
        assert_left_in_the_middle(job)

    def test_killed_worker_leaves_its_run_and_row(
        self, start: Start, sqs_queue: TestQueue, gate: Path
    ) -> None:
        job = begin(sqs_queue, gate)
        process = start("wait_for_gate")
        wait_until(lambda: has_begun(job), START_SECONDS)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert_left_in_the_middle(job)
        assert sqs.depth(sqs_queue.url).total == 0

    def test_worker_abandons_cancelled_run(self, start: Start, sqs_queue: TestQueue, gate: Path) -> None:
        job = begin(sqs_queue, gate)
        process = start("wait_for_gate", "--max-jobs", "1")
        wait_until(lambda: has_begun(job), START_SECONDS)
        Job.objects.update(status=Status.CANCELLED)
        assert process.wait(START_SECONDS) == 0
        assert Job.objects.get().status == Status.CANCELLED
        assert not JobEvent.objects.filter(kind=JobEvent.Kind.LATE_RESULT_REJECTED).exists()


def environment(queue: TestQueue) -> dict[str, str]:
    """Return the environment for a worker process, with the database and queue of this test."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    return os.environ | {
        "DATABASE_URL": url.geturl(),
        "SQS_QUEUE_URL": queue.url,
        "SQS_DLQ_URL": queue.dlq_url,
        "OPSCONSOLE_BEAT_INTERVAL_SECONDS": "1",
    }


def begin(queue: TestQueue, gate: Path) -> Job:
    """Create a job and send its message to the queue."""
    job = factories.job(payload={"gate": str(gate)})
    sqs.send_raw(queue.url, JobMessage(job_id=job.pk, run_epoch=1).to_body())
    return job


def has_begun(job: Job) -> bool:
    return JobEvent.objects.filter(job_id=job.pk, kind=JobEvent.Kind.PROGRESS).exists()


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


def running() -> int:
    return Job.objects.running().count()


def assert_left_in_the_middle(job: Job) -> None:
    left = Job.objects.get(pk=job.pk)
    beat = WorkerHeartbeat.objects.get()
    assert (left.status, left.claimed_epoch, left.worker_id) == (Status.IN_PROGRESS, 1, beat.worker_id)
    assert (beat.current_job_id, beat.current_run_epoch) == (job.pk, 1)
