"""Tests of the demo: what it refuses, the story it shows, its figures, and that it cleans up."""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobs.intake.enqueue import enqueue, validate
from jobs.models import Job, JobEvent, Outbox, Status, WorkerHeartbeat
from jobs.recovery import sweeps
from opsconsole.demo import account, environment, leftovers, limited_client, noisy_client, producer, services
from opsconsole.demo.by_hand import MOST_STALE, RunsByHand
from opsconsole.demo.environment import MARK, QUEUE_BY_HAND, DemoError, Wishes
from opsconsole.demo.handlers import LOSES_ITS_WORKER, buy_listings, submit_directories
from opsconsole.demo.limited_client import Limits
from opsconsole.demo.main import ErrorLines
from opsconsole.demo.producer import Producer, job_number, trouble_of
from opsconsole.demo.story import NOTES_BEFORE_THE_KILL, Story
from opsconsole.demo.storyteller import Storyteller
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working.handlers import PermanentError
from ratelimits.identity import client_ip
from ratelimits.models import RateLimitRequest
from ratelimits.policies.policy_snapshot import PRESETS
from tests import factories
from tests.conftest import TestQueue
from tests.programs import program
from tests.serving import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]


class TestWishes:
    def test_default_arguments(self) -> None:
        assert Wishes.of({}) == Wishes(ROOT / "var" / "demo", 8000, None)

    def test_all_arguments(self, tmp_path: Path) -> None:
        asked = {"DEMO_PORT": "8010", "DEMO_SECONDS": "120", "OPSCONSOLE_VAR_DIR": str(tmp_path)}
        assert Wishes.of(asked) == Wishes(tmp_path / "demo", 8010, 120)

    @pytest.mark.parametrize("value", ["0", "65536", "http", "-1", "8e3", "\N{SUPERSCRIPT TWO}"])
    def test_invalid_port_is_refused(self, value: str) -> None:
        with pytest.raises(DemoError, match=r"^DEMO_PORT must be a port of this machine"):
            Wishes.of({"DEMO_PORT": value})

    @pytest.mark.parametrize("value", ["119", "0", "-120", "two", "120.5"])
    def test_too_short_duration_is_refused(self, value: str) -> None:
        with pytest.raises(DemoError, match=rf"^DEMO_SECONDS must be a whole number from 120, not '{value}'"):
            Wishes.of({"DEMO_SECONDS": value})

    def test_environment_settings_do_not_reach_demo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("SLACK_WEBHOOK_URL", "AWS_PROFILE", "OPSCONSOLE_QUEUES", "PGHOST", "DATABASE_URL"):
            monkeypatch.setenv(name, "theirs")
        told = environment.for_processes(Wishes.of({}), {"DATABASE_URL": "ours"})
        assert "theirs" not in told.values()
        assert told["DATABASE_URL"] == "ours"

    def test_channels_can_be_added_on_the_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPSCONSOLE_CHANNEL_KEYS", "theirs" * 10)
        first, second = (environment.for_processes(Wishes.of({}), {}) for _ in range(2))
        assert len(first["OPSCONSOLE_CHANNEL_KEYS"]) >= 32
        assert len({first["OPSCONSOLE_CHANNEL_KEYS"], second["OPSCONSOLE_CHANNEL_KEYS"], "theirs" * 10}) == 3


def test_port_in_use_is_refused_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            DemoError, match=rf"^Port {port} can't be used .* DEMO_PORT={port + 10} make demo$"
        ):
            services.refuse_taken_port(port)


def test_two_demos_on_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        leftovers.only_one(tmp_path / "demo"),
        pytest.raises(DemoError, match=r"^Another demo is running in .* OPSCONSOLE_VAR_DIR="),
        leftovers.only_one(tmp_path / "demo"),
    ):
        pass


def test_leftover_processes_are_stopped_and_their_data_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    (folder / "postgres").mkdir(parents=True)
    with sleeper(folder) as left, sleeper(tmp_path / "another") as other:
        assert leftovers.clear(folder) == 1
        assert not psutil.pid_exists(left.pid)
        assert other.poll() is None
    assert [each.name for each in folder.iterdir()] == ["logs"]


def test_leftovers_of_gunicorn_are_found_though_they_are_renamed() -> None:
    wishes = Wishes.of({})
    rename = "from gunicorn import util; util._setproctitle('x'); print('up', flush=True); input()"
    renamed = subprocess.Popen(
        [sys.executable, "-c", rename],
        env=environment.for_processes(wishes, {}) | {MARK: "a renamed one"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with renamed:
        assert renamed.stdout and renamed.stdout.readline() == b"up\n"
        assert psutil.Process(renamed.pid).cmdline()[0] == "gunicorn: x"
        assert [each.pid for each in leftovers.processes_of(Path("a renamed one"))] == [renamed.pid]


class sleeper:  # noqa: N801 - used as a context manager, like a function
    """A process that carries the mark of the demo in a folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"],
            env=os.environ | {MARK: str(folder)},
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        assert self.process.stdout
        assert self.process.stdout.readline() == b"up\n"
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_errors_in_logs_are_printed_once_and_completely(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    lines = ErrorLines(tmp_path)
    assert lines.new() == []
    error = "2026-01-01T00:00:00.000Z ERROR   django.request: Internal Server Error: /"
    log.write_text(
        f"\n2026-01-01T00:00:00.000Z INFO    x: no ERROR here\n{error}\nTraceback: ERROR\n[2026-01-01 00:00:00 +0000] [7] [CRITI"
    )
    assert lines.new() == [("web", f"{error}  (web.log)")]
    assert lines.new() == []
    with log.open("a") as more:
        more.write("CAL] gone\n")
    assert lines.new() == [("web", "[2026-01-01 00:00:00 +0000] [7] [CRITICAL] gone  (web.log)")]


class Notes(SimpleNamespace):
    """The context of a run, which records its notes."""

    def __init__(self, payload: dict[str, Any], attempts: int = 0) -> None:
        job = factories_job(payload, attempts)
        super().__init__(job=job, notes=[], check=lambda: None, last_progress=None)

    def note(self, text: str, reference: str) -> None:
        self.notes.append((text, reference))

    def progress(self, percent: float, text: str) -> None:
        self.reported = (percent, text)


def factories_job(payload: dict[str, Any], attempts: int) -> SimpleNamespace:
    return SimpleNamespace(
        id=Job().pk, package_size=2, epoch=1, attempts=attempts, payload={"seconds_each": 0} | payload
    )


class TestHandler:
    def test_each_directory_is_noted_with_its_own_reference(self) -> None:
        run: Any = Notes({})
        assert submit_directories(run) == {"directories": 2}
        assert [text for text, _ in run.notes] == [
            "Submitted to directory 1 of 2",
            "Submitted to directory 2 of 2",
        ]
        assert len({reference for _, reference in run.notes}) == 2
        assert run.reported == (100, "2 of 2 directories")

    def test_address_that_an_operator_adds_mends_the_cause(self) -> None:
        payload = job_number(9).payload
        assert payload == {"trouble": "fails for good", "address": ""}
        with pytest.raises(PermanentError, match="its address is missing"):
            submit_directories(cast(Any, Notes(dict(payload))))

        mended: Any = Notes(payload | {"address": "Main Street 1"})
        submit_directories(mended)

        assert mended.reported == (100, "2 of 2 directories")

    @pytest.mark.parametrize(
        ("trouble", "attempts", "error"),
        [
            ("fails once", 0, ConnectionError),
            ("fails once", 1, None),
            ("fails always", 2, ConnectionError),
            ("fails for good", 0, PermanentError),
        ],
    )
    def test_trouble(self, trouble: str, attempts: int, error: type[Exception] | None) -> None:
        run: Any = Notes({"trouble": trouble}, attempts)
        if error:
            with pytest.raises(error):
                submit_directories(run)
        else:
            submit_directories(run)


class TestListings:
    def bought(self, run: Any) -> list[str]:
        buy_listings(run)
        return [text for text, _ in run.notes]

    def test_each_purchase_is_noted(self) -> None:
        run: Any = Notes({})
        assert self.bought(run) == ["Bought listing 1 of 2", "Bought listing 2 of 2"]
        assert run.reported == (100, "2 of 2 listings bought")

    def test_later_run_goes_on_where_the_first_one_stopped_and_keeps_its_worker(self) -> None:
        run: Any = Notes({"trouble": LOSES_ITS_WORKER})
        run.job.package_size, run.job.epoch, run.last_progress = 4, 2, SimpleNamespace(percent=50)
        assert self.bought(run) == ["Bought listing 3 of 4", "Bought listing 4 of 4"]

    def test_worker_dies_before_it_notes_what_it_ordered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Killed(Exception):
            pass

        def kill(pid: int, number: int) -> None:
            assert (pid, number) == (os.getpid(), signal.SIGKILL)
            raise Killed

        monkeypatch.setattr(os, "kill", kill)
        run: Any = Notes({"trouble": LOSES_ITS_WORKER})
        run.job.package_size = 4
        with pytest.raises(Killed):
            buy_listings(run)
        assert [text for text, _ in run.notes] == ["Bought listing 1 of 4", "Bought listing 2 of 4"]


@pytest.mark.django_db
class TestRunsByHand:
    @pytest.fixture
    def by_hand(self, sqs_queue: TestQueue, settings: Settings) -> RunsByHand:
        settings.QUEUES |= {QUEUE_BY_HAND: QueueConfig(QUEUE_BY_HAND, "https://sqs.fake/listings", None)}
        settings.OPSCONSOLE_RECOVERY_BY_HAND = (QUEUE_BY_HAND,)
        return RunsByHand("http://127.0.0.1:8000")

    def stale(self, by_hand: RunsByHand) -> Job:
        """Enqueue a job whose worker then falls silent."""
        by_hand.turn()
        job = Job.objects.get(queue=QUEUE_BY_HAND)
        lifecycle.claim(job.pk, 1, Worker("dies"))
        long_ago = Now() - timedelta(hours=1)
        Job.objects.update(started_at=long_ago, updated_at=long_ago)
        WorkerHeartbeat.objects.update(last_heartbeat=long_ago)
        return job

    def test_no_more_are_enqueued_than_somebody_may_look_at(self, by_hand: RunsByHand) -> None:
        for _ in range(MOST_STALE + 2):
            by_hand.turn()
            by_hand._next_at = 0.0
        assert Job.objects.filter(queue=QUEUE_BY_HAND).count() == MOST_STALE
        Job.objects.update(status=Status.COMPLETED)
        by_hand.turn()
        by_hand.turn()
        assert by_hand.enqueued == MOST_STALE + 1

    def test_stale_run_is_named_once_and_no_sweep_takes_it(
        self, by_hand: RunsByHand, capsys: pytest.CaptureFixture[str]
    ) -> None:
        job = self.stale(by_hand)
        by_hand._next_at = 0.0
        for _ in range(2):
            sweeps.sweep("test")
            by_hand.turn(enqueues=False)
        assert by_hand.enqueued == 1
        assert capsys.readouterr().out.count(f"/admin/jobs/job/{job.pk}/change/") == 1

    def test_end_of_the_demo_requeues_what_nobody_did(self, by_hand: RunsByHand) -> None:
        job = self.stale(by_hand)
        by_hand.end()
        by_hand.end()
        job.refresh_from_db()
        assert (job.status, job.run_epoch) == (Status.PENDING, 2)
        assert JobEvent.objects.get(job=job, kind=JobEvent.Kind.REQUEUED).reason.startswith("The demo ends")


class TestProducer:
    def test_every_job_can_be_enqueued_and_some_have_trouble(self, sqs_queue: TestQueue) -> None:
        for number in range(1, 200):
            validate(job_number(number))
        troubles = [trouble_of(number) for number in range(1, 61)]
        assert troubles.count(producer.POISON) == 1
        assert troubles.index(producer.POISON) < 5
        assert {"fails once", "fails for good", "fails always", None} <= set(troubles)
        assert troubles.count(None) > 40

    @pytest.mark.django_db
    def test_demo_kills_one_worker_at_a_time_up_to_its_maximum(
        self, sqs_queue: TestQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(producer, "MOST_WAITING", 2)
        feed = Producer()
        feed.turn()
        feed.turn()
        assert Job.objects.count() == 1
        for _ in range(5):
            feed._next_at = 0.0
            feed.turn()
        assert (Job.objects.count(), feed.enqueued) == (2, 2)


@pytest.mark.django_db
class TestStory:
    @pytest.fixture
    def victim(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
        monkeypatch.setenv(MARK, str(tmp_path))
        with sleeper(tmp_path) as process:
            yield process

    @pytest.fixture
    def story(self, sqs_queue: TestQueue) -> Story:
        return Story("http://127.0.0.1:8000")

    def hear_all(self, story: Story) -> None:
        for event in JobEvent.objects.filter(job_id=story.job_id):
            story.hear(event)

    def begin(self, story: Story, worker: Worker, epoch: int = 1) -> Run:
        claimed = lifecycle.claim(story.job_id, epoch, worker)
        assert isinstance(claimed, RunningJob)
        return Run(story.job_id, epoch, worker)

    def note(self, run: Run, times: int) -> None:
        for number in range(times):
            lifecycle.note(run, f"Submitted to directory {number}", reference=f"listing-{number}")

    def test_demo_kills_a_worker_mid_run_and_announces_the_effect(
        self, story: Story, victim: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = self.begin(story, Worker("first", pid=victim.pid))
        self.note(first, NOTES_BEFORE_THE_KILL)
        self.hear_all(story)
        assert victim.wait(10) == -signal.SIGKILL
        assert not story.over
        long_ago = Now() - timedelta(hours=1)
        Job.objects.update(started_at=long_ago, updated_at=long_ago)
        WorkerHeartbeat.objects.update(last_heartbeat=long_ago)
        sweeps.sweep("test")
        lifecycle.complete(self.begin(story, Worker("second"), epoch=2))
        Outbox.objects.filter(run_epoch=2).update(state=Outbox.State.SENT, sent_at=Now())
        capsys.readouterr()
        self.hear_all(story)
        story.look_at_the_outbox()
        story.look_at_the_outbox()
        told = capsys.readouterr().out
        assert re.findall(
            r"found stale: dead worker|requeued as run 2|claimed by worker second \(run 2\)"
            r"|completed by worker second \(run 2\)|the end|sent to SQS, for run 2",
            told,
        ) == [
            "found stale: dead worker",
            "requeued as run 2",
            "claimed by worker second (run 2)",
            "completed by worker second (run 2)",
            "the end",
            "sent to SQS, for run 2",
        ]
        assert f"/admin/jobs/job/{story.job_id}/change/" in told
        assert story.over

    def test_no_worker_is_killed_before_its_first_note(
        self, story: Story, victim: subprocess.Popen[bytes]
    ) -> None:
        self.note(self.begin(story, Worker("first", pid=victim.pid)), NOTES_BEFORE_THE_KILL - 1)
        self.hear_all(story)
        assert victim.poll() is None

    def test_foreign_processes_are_not_killed(
        self, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(MARK, str(tmp_path))
        with sleeper(tmp_path / "another") as stranger:
            self.note(self.begin(story, Worker("first", pid=stranger.pid)), NOTES_BEFORE_THE_KILL)
            self.hear_all(story)
            assert stranger.poll() is None
        assert story.killed_worker is None

    def test_demo_waits_for_another_job_when_one_was_too_fast(self, story: Story) -> None:
        job_id = story.job_id
        lifecycle.complete(self.begin(story, Worker("first")))
        self.hear_all(story)
        assert story.job_id != job_id
        assert not story.over
        assert Job.objects.waiting().get().pk == story.job_id

    def test_other_outcomes_are_reported(self, story: Story, capsys: pytest.CaptureFixture[str]) -> None:
        lifecycle.fail(self.begin(story, Worker("first")), "out of luck", retryable=False)
        self.hear_all(story)
        assert "failed (run 1): out of luck" in capsys.readouterr().out


class TestNoise:
    def test_demo_client_exceeds_its_limit(self) -> None:
        standard = PRESETS["standard"]
        assert standard.window / noisy_client.SECONDS_BETWEEN > 1.5 * standard.limit

    def test_demo_client_differs_from_a_local_visitor(self, settings: Settings) -> None:
        told = environment.for_processes(Wishes.of({}), {})
        settings.OPSCONSOLE_TRUSTED_PROXIES = tuple(told["OPSCONSOLE_TRUSTED_PROXIES"].split(","))
        person = {"REMOTE_ADDR": "127.0.0.1"}
        assert str(client_ip.client_address(person)) == "127.0.0.1"
        assert (
            str(client_ip.client_address(person | {"HTTP_X_FORWARDED_FOR": noisy_client.ADDRESS}))
            == noisy_client.ADDRESS
        )

    @pytest.mark.django_db
    def test_limiting_is_reported_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        teller = Limits("http://127.0.0.1:8000")
        for key, outcome in ((limited_client.KEY, "allowed"), ("address:127.0.0.1", "limited")):
            RateLimitRequest.objects.create(key=key, endpoint="/", method="GET", outcome=outcome)
        teller.turn()
        assert capsys.readouterr().out == ""
        RateLimitRequest.objects.create(key=limited_client.KEY, endpoint="/", method="GET", outcome="limited")
        teller.turn()
        teller.turn()
        told = capsys.readouterr().out
        assert told.count("\n") == 1
        assert (
            "http://127.0.0.1:8000/admin/ratelimits/ratelimithour/client/?key=address%3A203.0.113.7" in told
        )


@pytest.mark.django_db
class TestAccount:
    def draw_up(self) -> account.Account:
        return account.draw_up(timezone.now())

    def test_all_ended_once(self) -> None:
        for status in account.ENDED:
            factories.job(status=status)
        drawn_up = self.draw_up()
        assert drawn_up.good
        assert "jobs completed                       1" in drawn_up.lines()

    @pytest.mark.parametrize(
        ("status", "word"),
        [(Status.PENDING, "waiting"), (Status.IN_PROGRESS, "in progress"), ("theirs", "'theirs'")],
    )
    def test_one_did_not_end(self, status: str, word: str) -> None:
        job = factories.job(status=status)
        drawn_up = self.draw_up()
        assert not drawn_up.good
        assert drawn_up.lines()[-1] == f"job {job.pk} did not end: it is {word}"

    def test_late_job_does_not_count(self) -> None:
        enqueued_until = timezone.now()
        factories.job(created_at=Now() + timedelta(seconds=1))
        assert account.draw_up(enqueued_until).good

    def test_one_was_completed_twice(self) -> None:
        job = factories.job(status=Status.COMPLETED)
        for _ in range(2):
            JobEvent.objects.create(job=job, kind=JobEvent.Kind.COMPLETED, actor="worker:w", run_epoch=1)
        drawn_up = self.draw_up()
        assert not drawn_up.good
        assert drawn_up.lines()[-1] == f"job {job.pk} was completed more than once"


@pytest.mark.django_db
class TestStoryteller:
    @pytest.fixture
    def teller(self, sqs_queue: TestQueue) -> Storyteller:
        return Storyteller({"DEMO_BEGAN": "0", "DEMO_ADDRESS": "http://127.0.0.1:1", "DEMO_SECONDS": ""})

    def test_each_event_is_heard_once_also_when_it_was_committed_late(self, teller: Storyteller) -> None:
        def event(number: int) -> JobEvent:
            return JobEvent.objects.create(pk=10_000 + number, job_id=job.pk, kind="progress", actor="x")

        def told() -> list[JobEvent]:
            events = teller._new_events()
            # As a turn does once it has told them.
            teller._heard.update(each.pk for each in events)
            return events

        job = factories.job()
        later = event(2)
        assert told() == [later]
        earlier = event(1)
        assert told() == [earlier]
        assert told() == []

    def test_only_notable_events_of_other_jobs_are_printed(
        self, teller: Storyteller, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for kind in JobEvent.Kind:
            teller._tell(JobEvent(job_id=Job().pk, kind=kind, actor="x", run_epoch=1, at=timezone.now()))
        told = capsys.readouterr().out
        assert "quarantined" in told
        assert not re.search("enqueued|claimed|progress|completed", told)

    def test_producer_stops_in_time_to_drain(self, teller: Storyteller) -> None:
        teller.seconds = teller.age + 100
        teller._produce()
        teller.producer._next_at = 0.0
        teller.seconds = teller.age + 10
        teller._produce()
        ended_at = teller.production_ended_at
        teller._produce()
        assert ended_at is not None
        assert teller.production_ended_at == ended_at
        assert Job.objects.count() == 1

    def test_runs_by_hand_end_before_production_does(
        self, teller: Storyteller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        called: list[str] = []
        monkeypatch.setattr(teller.by_hand, "turn", lambda enqueues: called.append(f"turn {enqueues}"))
        monkeypatch.setattr(teller.by_hand, "end", lambda: called.append("end"))
        for seconds_left in (1_000, 70, 10):
            teller.seconds = teller.age + seconds_left
            teller._produce()
            teller._leave_runs_by_hand()
        assert called == ["turn True", "turn False", "end"]

    def test_unfinished_story_is_a_failure(
        self, teller: Storyteller, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert not teller._close()
        assert "the story did not finish" in capsys.readouterr().out

    def test_demo_succeeds_only_with_correct_final_count(self, teller: Storyteller) -> None:
        teller.story = Story(teller.address)
        teller.story.killed_worker, teller.story.finished_by = "first", "second"
        Job.objects.update(status=Status.COMPLETED)
        assert teller._close()
        enqueue(job_number(1))
        assert not teller._close()


QUICK = (
    "import sys; from opsconsole.demo import environment; from opsconsole.demo.main import main; environment.PACE |= "
    "{'OPSCONSOLE_STALE_AFTER_SECONDS': '20', 'OPSCONSOLE_BEAT_INTERVAL_SECONDS': '1', "
    "'OPSCONSOLE_SWEEP_INTERVAL_SECONDS': '5'}; sys.exit(main())"
)
START_SECONDS = 60.0


class Demo:
    """A demo in another process, at a faster pace."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder / "demo"
        self.log = folder / "demo.log"
        self.address = f"http://127.0.0.1:{port}"
        self.process = process

    def wait_for(self, pattern: str) -> re.Match[str]:
        def said() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log.read_text()
            return re.search(pattern, self.log.read_text(), re.MULTILINE)

        found = wait_until(said, START_SECONDS, what=f"'{pattern}' in the demo's log")
        assert found
        return found

    def processes(self) -> list[psutil.Process]:
        """Return marked processes, and PostgreSQL's, whose titles overwrite their environment."""
        marked = {each.pid: each for each in leftovers.processes_of(self.folder)}
        return [each for each in psutil.process_iter() if each.pid in marked or self._serves(each)]

    def _serves(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(
                self.folder
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            return False

    def nothing_is_left(self) -> bool:
        return not self.processes()


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    port = free_port()
    environ = os.environ | {"OPSCONSOLE_VAR_DIR": str(tmp_path), "DEMO_PORT": str(port)}
    quick = [sys.executable, "-c", QUICK]
    with (
        (tmp_path / "demo.log").open("wb") as output,
        program(quick, cwd=ROOT, env=environ, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        started = Demo(tmp_path, port, process)
        yield started
    wait_until(started.nothing_is_left, 15)


def log_in(demo: Demo, password: str) -> urllib.request.OpenerDirector:
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    page = f"{demo.address}/admin/login/"
    browser.open(page).close()
    token = next(str(cookie.value) for cookie in cookies if cookie.name == "csrftoken")
    form = {"username": "operator", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
    request = urllib.request.Request(page, urllib.parse.urlencode(form).encode(), {"Referer": page})
    browser.open(request).close()
    return browser


def test_demo_shows_story_and_ctrl_c_cleans_up(demo: Demo) -> None:
    demo.wait_for("the console answers after")
    password = demo.wait_for(r"password +(\S+)$")[1]
    job_page = demo.wait_for(r"story +the end: .* (http\S+)$")[1]
    with log_in(demo, password).open(job_page) as page:
        shown = page.read().decode()
    assert "customer-story" in shown
    assert "stopped during this run" in shown
    log = demo.log.read_text()
    steps = [
        "enqueued",
        "claimed",
        "killed",
        "found stale",
        "requeued as run 2",
        r"claimed .*run 2",
        r"completed .*run 2",
    ]
    assert re.search(".*".join(steps), log, re.DOTALL), log
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in log.splitlines()), log
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(20) == 0
    assert demo.nothing_is_left()


def test_kill_9_cleans_up(demo: Demo) -> None:
    demo.wait_for("the console answers after")
    wait_until(lambda: len(demo.processes()) >= 15, START_SECONDS)
    demo.process.kill()
    demo.process.wait()
    wait_until(demo.nothing_is_left, 15)


def test_sigterm_during_start_cleans_up(demo: Demo) -> None:
    demo.wait_for("preparing the database")
    demo.process.terminate()
    assert demo.process.wait(20) == 0
    assert demo.nothing_is_left()


@pytest.mark.django_db(transaction=True)
def test_storyteller_goes_on_after_its_session_was_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"DEMO_BEGAN": "0", "DEMO_ADDRESS": "http://127.0.0.1:1", "DEMO_SECONDS": ""}
    teller, stop, turns = Storyteller(environ), SimpleNamespace(asked=0), 0

    def end_own_session() -> None:
        nonlocal turns
        turns += 1
        with connection.cursor() as cursor:
            if turns == 1:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            cursor.execute("SELECT 1")
        stop.asked = 1

    for name in ("_prepare", "_open"):
        monkeypatch.setattr(teller, name, lambda *_: True)
    monkeypatch.setattr(teller, "_turn", end_own_session)
    assert teller.run(cast("Any", stop))
    assert (turns, stop.asked) == (2, 1)
