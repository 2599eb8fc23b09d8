"""Tests of the signs of a restore or failover: what is noticed, kept, alerted and settled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from redis.exceptions import ConnectionError as StoreConnectionError

from alerts.models import Alert
from jobs.inspection import inspect_database
from jobs.models import Job, JobEvent, Restore, ServerMark, Status, Sweep, WorkerHeartbeat
from jobs.restores import fencing, server, signs
from jobs.restores.server import Position
from jobs.runs.timeline import Actor
from opsconsole.kit import store_marks
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats
from opsconsole_worker.runs.heartbeats import Worker
from tests import factories
from tests.audit_tables import tamper

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
OLGA = Actor.operator("olga", None)
BEFORE = Position("7001", 3, newest_sweep=40, newest_event=900)


@pytest.fixture(autouse=True)
def remembered(settings: Any) -> None:
    settings.QUEUES = {}
    assert signs.watch() == "no sign of a restore"


def alerts() -> list[Alert]:
    return list(Alert.objects.open().filter(fingerprint=signs.ALERT))


class TestDifferences:
    @pytest.mark.parametrize(
        ("now", "word"),
        [
            (replace(BEFORE, system_identifier="7002", timeline=1), "another server"),
            (replace(BEFORE, timeline=4), "standby was promoted"),
            (replace(BEFORE, newest_sweep=39), "newest sweep was 40, now it is 39"),
            (replace(BEFORE, newest_event=3), "newest event of a timeline was 900, now it is 3"),
        ],
    )
    def test_signs(self, now: Position, word: str) -> None:
        [sign] = server.differences(BEFORE, now)
        assert word in sign

    @pytest.mark.parametrize(
        "now",
        [
            BEFORE,
            replace(BEFORE, newest_sweep=41, newest_event=2_000),
            replace(BEFORE, system_identifier=None, timeline=None),
            replace(BEFORE, newest_sweep=None, newest_event=None),
        ],
    )
    def test_progress_and_silence_are_no_signs(self, now: Position) -> None:
        assert server.differences(BEFORE, now) == []

    def test_first_position_is_no_sign(self) -> None:
        assert server.differences(Position(), BEFORE) == []


def test_position_is_read_from_the_server() -> None:
    Sweep.objects.create(trigger="command", mode=Sweep.Mode.ARMED)
    position = server.position(None)
    assert position.system_identifier and position.timeline
    assert position.newest_sweep == Sweep.objects.get().pk


def test_another_timeline_is_noticed_kept_and_alerted() -> None:
    ServerMark.objects.update(timeline=99)
    assert signs.watch() == "1 sign of a restore"
    [alert] = alerts()
    assert "recovery_mode restored" in alert.summary
    assert alert.severity == "critical"
    # The sign stays, even when what it rests on has vanished.
    ServerMark.objects.update(timeline=server.position(None).timeline)
    assert signs.watch() == "1 sign of a restore"
    assert len(alerts()) == 1


def test_data_that_went_back_is_noticed() -> None:
    """Remember in the store how far the data had come; the database itself forgets it with the restore."""
    Sweep.objects.create(trigger="command", mode=Sweep.Mode.ARMED)
    now = server.position(None)
    assert now.newest_sweep
    ahead = replace(now, newest_sweep=now.newest_sweep + 40)
    store_marks.write(signs._name(signs.load()), ahead.as_mark())
    signs.watch()
    [sign] = signs.kept()
    assert f"the newest sweep was {ahead.newest_sweep}, now it is {now.newest_sweep}" in sign


@pytest.mark.parametrize("emptied", ["TRUNCATE job_events", "DELETE FROM sweeps"])
def test_retention_is_no_restore(emptied: str) -> None:
    Sweep.objects.create(trigger="command", mode=Sweep.Mode.ARMED)
    for _ in range(3):
        JobEvent.objects.create(job_id=uuid4(), kind="claimed", run_epoch=1, actor="worker:w1")
    signs.watch()
    tamper(emptied)
    assert signs.watch() == "no sign of a restore"
    assert signs.watch() == "no sign of a restore"


def test_new_database_with_an_old_store_is_not_taken_for_a_restore() -> None:
    Sweep.objects.create(trigger="command", mode=Sweep.Mode.ARMED)
    signs.watch()
    Sweep.objects.all().delete()
    ServerMark.objects.update(installation=uuid4())
    assert signs.watch() == "no sign of a restore"


def test_restore_during_a_look_is_noticed_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is what was compared, not what the database holds a moment later."""
    restored = server.position(None)
    lost = replace(restored, newest_event=(restored.newest_event or 0) + 10)
    read = iter([lost, restored])
    monkeypatch.setattr(server, "position", lambda _fence: next(read))
    assert signs.watch() == "no sign of a restore"
    assert signs.watch() == "1 sign of a restore"


def test_store_that_is_away_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise StoreConnectionError("refused")

    monkeypatch.setattr(cache, "get", refuse)
    monkeypatch.setattr(cache, "set", refuse)
    assert signs.watch() == "no sign of a restore"
    ServerMark.objects.update(timeline=99)
    assert signs.watch() == "1 sign of a restore"


class TestEpochsAhead:
    def test_heartbeat(self) -> None:
        job = factories.job(run_epoch=2)
        heartbeats.say(Worker("w2"), job.pk, 3)
        signs.watch()
        assert signs.kept() == [
            f"Worker w2 sends heartbeats for run 3 of job {job.pk}, whose row is at run 2."
        ]

    def test_message(self) -> None:
        jobs = [factories.job(run_epoch=2) for _ in range(signs.SEVERAL)]
        for number, job in enumerate(jobs):
            # One message proves nothing: anybody may have sent it, with any number in it.
            assert signs.watch() == "no sign of a restore"
            heartbeats.say(Worker(f"w{number}"))
            heartbeats.note_ahead(Worker(f"w{number}"), job.pk, 3)
        signs.watch()
        assert sorted(signs.kept()) == [
            f"Worker w{number} received a message for run 3 of job {job.pk}, whose row is at run 2."
            for number, job in enumerate(jobs)
        ]

    def test_metadata_that_others_wrote_breaks_nothing(self) -> None:
        heartbeats.say(Worker("w1"))
        noted: list[Any] = [
            {"job_id": "x", "epoch": "y"},
            {"job_id": str(uuid4()), "epoch": 1e300},
            "text",
            [],
        ]
        for ahead in noted:
            WorkerHeartbeat.objects.update(metadata={"epoch_ahead": ahead})
            assert signs.watch() == "no sign of a restore"

    def test_dead_letters(self) -> None:
        first, *others = [factories.job(status=Status.FAILED, run_epoch=2) for _ in range(signs.SEVERAL)]
        for _ in range(signs.SEVERAL):
            factories.dead_letter(first, run_epoch=7)
        assert signs.watch() == "no sign of a restore"
        for job in others:
            factories.dead_letter(job, run_epoch=3)
        signs.watch()
        assert f"A dead letter is about run 3 of job {others[0].pk}, whose row is at run 2." in signs.kept()

    @pytest.mark.parametrize(
        ("dead_letter_id", "proves"), [("6f1f9a52-3f0b-4f52-9c0e-0d6f2a4b8c11", True), ("7", False)]
    )
    def test_dead_letter_of_the_outbox(self, dead_letter_id: str, proves: bool) -> None:
        job = factories.job(status=Status.FAILED, run_epoch=2)
        factories.dead_letter(job, run_epoch=3, dead_letter_id=dead_letter_id)
        signs.watch()
        sign = f"A dead letter is about run 3 of job {job.pk}, whose row is at run 2."
        assert signs.kept() == ([sign] if proves else [])

    @pytest.mark.parametrize(("gap", "heartbeats_needed"), [(timedelta(hours=2), 1), (None, signs.SEVERAL)])
    def test_heartbeat_counts_alone_where_sweeps_have_a_gap(
        self, gap: timedelta | None, heartbeats_needed: int
    ) -> None:
        """A restore takes the sweeps of the lost time along."""
        self._sweeps(gap)
        jobs = [factories.job(run_epoch=2, updated_at=Now() - 5 * HOUR) for _ in range(signs.SEVERAL)]
        for number, job in enumerate(jobs, start=1):
            assert bool(signs.look()) is (number > heartbeats_needed)
            heartbeats.say(Worker(f"w{number}"), job.pk, 3)
        assert signs.look()

    @pytest.mark.parametrize(("gap", "noticed"), [(timedelta(hours=2), True), (None, False)])
    def test_letters_made_by_hand_are_no_sign_where_sweeps_have_none(
        self, gap: timedelta | None, noticed: bool
    ) -> None:
        self._sweeps(gap)
        for _ in range(signs.SEVERAL):
            job = factories.job(run_epoch=1, updated_at=Now() - 5 * HOUR)
            factories.dead_letter(job, run_epoch=2, dead_letter_id=str(uuid4()))
            heartbeats.note_ahead(Worker("w1"), job.pk, 2)
        assert bool(signs.look()) is noticed

    def _sweeps(self, gap: timedelta | None) -> None:
        """Create sweeps every two minutes since six hours ago, but for a gap in the middle."""
        ages = [number * timedelta(minutes=2) for number in range(180)]
        kept = [age for age in ages if gap is None or not HOUR < age < HOUR + gap]
        Sweep.objects.bulk_create(
            Sweep(trigger="schedule", mode=Sweep.Mode.ARMED, started_at=Now() - age, finished_at=Now() - age)
            for age in kept
        )
        signs.watch()

    def test_current_and_old_epochs_are_no_signs(self) -> None:
        job, done = factories.job(run_epoch=2), factories.job(status=Status.COMPLETED)
        heartbeats.say(Worker("w1"), job.pk, 2)
        heartbeats.say(Worker("w2"), done.pk, 9)
        factories.dead_letter(job, run_epoch=1)
        assert signs.watch() == "no sign of a restore"


class TestSettling:
    def test_fencing_settles_the_signs(self) -> None:
        job = factories.job(run_epoch=2)
        heartbeats.say(Worker("w2"), job.pk, 3)
        signs.watch()
        done = fencing.restored(OLGA, "Restored the backup of 08:00.")
        assert done.restore.signs
        assert signs.kept() == []
        assert not alerts()
        assert signs.watch() == "no sign of a restore"

    def test_new_sign_begins_a_new_fencing(self) -> None:
        first = fencing.restored(OLGA, "Restored the backup of 08:00.").restore
        ServerMark.objects.update(timeline=99)
        second = fencing.restored(OLGA, "Restored it once more.")
        assert second.begun
        assert second.restore.fence > first.fence
        assert Restore.objects.count() == 2

    def test_failover_without_loss(self) -> None:
        ServerMark.objects.update(timeline=99)
        signs.watch()
        call_command("recovery_mode", "not-restored", "--reason", "The standby was synchronous.")
        assert signs.kept() == []
        assert not alerts()
        assert not Restore.objects.exists()
        assert signs.watch() == "no sign of a restore"
        with pytest.raises(CommandError, match="There is no sign of a restore"):
            call_command("recovery_mode", "not-restored", "--reason", "Once more.")


def test_signs_are_shown_where_findings_are(operator: Client) -> None:
    page = reverse("admin:jobs_recoverycontrol_changelist")
    assert "restored or failed over" not in operator.get(page).text
    ServerMark.objects.update(timeline=99)
    signs.watch()
    shown = operator.get(page).text
    assert "The database seems to have been restored or failed over." in shown
    assert "recovery_mode restored" in shown
    out = StringIO()
    call_command("recovery_mode", "show", stdout=out)
    assert "recovery_mode restored" in out.getvalue()
    [finding] = [each for each in inspect_database() if each.id == "restored"]
    assert "recovery_mode restored" in finding.action

    fencing.restored(OLGA, "Restored the backup of 08:00.")

    shown = operator.get(page).text
    assert "seems to have been restored" not in shown
    assert " by olga: Restored the backup of 08:00." in shown


@pytest.mark.django_db(transaction=True)
def test_worker_notes_a_message_about_a_later_run(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.worker import Consumer
    from opsconsole_worker import sqs
    from opsconsole_worker.messages import JobMessage
    from tests.fakes.sqs import FakeSqs

    account = FakeSqs()
    url = account.create("https://sqs.fake/000000000000/jobs")
    monkeypatch.setattr(sqs, "client_for", account.client_for)
    job = factories.job(run_epoch=2)
    sqs.send_raw(url, JobMessage(job_id=job.pk, run_epoch=5).to_body())
    Consumer(QueueConfig("default", url, None), lambda context: None, poll_seconds=0).poll()
    assert len(account.bodies(url)) == 1
    assert Job.objects.get(pk=job.pk).status == Status.PENDING
    assert WorkerHeartbeat.objects.get().metadata["epoch_ahead"] == {"job_id": str(job.pk), "epoch": 5}
    assert signs.watch() == "no sign of a restore"
