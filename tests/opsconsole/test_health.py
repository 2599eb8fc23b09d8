"""Tests of the health probes: no login, no details, and the right answer in each state."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from django.test import Client
from pytest_django.fixtures import Settings

from alerts import notify
from alerts.models import Monitor
from alerts.watch import monitor_alerts
from jobs.models import QueueState
from opsconsole import health
from opsconsole_worker.environment import QueueConfig
from tests.other_sessions import other_session

READY = {"status": "ready", "checks": {"database": "ok", "queue": "ok", "sweep": "ok"}}


@pytest.fixture
def fresh(db: None, settings: Settings) -> None:
    """Record two queues read and a sweep ended a moment ago."""
    settings.QUEUES = {name: QueueConfig(name, "https://x/" + name, None) for name in ("default", "slow")}
    for name in settings.QUEUES:
        QueueState.objects.create(name=name, read_at=Now())
    notify.monitor_ok(monitor_alerts.SWEEP, timedelta(seconds=settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS))


def failing() -> set[str]:
    answer = Client().get("/readyz")
    passed = answer.status_code == 200
    body = answer.json()
    assert body["status"] == ("ready" if passed else "not ready")
    failed = {name for name, word in body["checks"].items() if word != "ok"}
    assert passed is not bool(failed)
    return failed


def test_alive_needs_no_services() -> None:
    answer = Client().get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok")


@pytest.mark.usefixtures("fresh")
def test_ready_gives_no_details() -> None:
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()) == (200, READY)
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_accept_ip_host_and_only_get(path: str) -> None:
    assert Client().get(path, headers={"host": "10.0.0.7"}).status_code == 200
    assert Client().post(path).status_code == 405
    assert Client().head(path).status_code == 200


@pytest.mark.usefixtures("fresh")
def test_one_queue_that_is_late_or_unreadable_is_not_ready(settings: Settings) -> None:
    late = timedelta(seconds=settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS * 2)
    slow = QueueState.objects.filter(name="slow")
    slow.update(read_at=Now() - late + timedelta(seconds=5))
    assert failing() == set()
    slow.update(read_at=Now() - late - timedelta(seconds=5))
    assert failing() == {"queue"}
    slow.update(
        read_at=Now() - timedelta(minutes=2), checked_at=Now(), error="access denied to https://x/slow"
    )
    assert failing() == {"queue"}
    slow.delete()
    assert failing() == {"queue"}


@pytest.mark.usefixtures("fresh")
def test_no_queue_at_all_is_not_ready(settings: Settings) -> None:
    settings.QUEUES = {}
    assert failing() == {"queue"}


@pytest.mark.usefixtures("fresh")
def test_late_or_unfinished_sweep_is_not_ready(settings: Settings) -> None:
    late = timedelta(seconds=settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS * 2)
    sweep = Monitor.objects.filter(name=monitor_alerts.SWEEP)
    sweep.update(last_ok_at=Now() - late + timedelta(seconds=5))
    assert failing() == set()
    sweep.update(last_ok_at=Now() - late - timedelta(seconds=5))
    assert failing() == {"sweep"}
    sweep.delete()
    assert failing() == {"sweep"}


@pytest.mark.usefixtures("fresh")
def test_database_outage_is_not_ready_and_gives_no_details(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise DatabaseError("connection to db.internal refused")

    monkeypatch.setattr(health, "_answer_in_time", refuse)
    assert failing() == {"database", "queue", "sweep"}
    assert b"db.internal" not in Client().get("/readyz").content


@pytest.mark.django_db(transaction=True)
def test_database_that_does_not_answer_in_time_is_not_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait_for_a_minute() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        return True

    monkeypatch.setattr(health, "_queues_were_read", wait_for_a_minute)
    assert failing() == {"database", "queue", "sweep"}
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["jobs", "worker_heartbeats"])
def test_table_that_somebody_has_locked_is_not_ready(
    table: str, fresh: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health, "LOCK_TIMEOUT", timedelta(milliseconds=1))
    health._logged.clear()
    with other_session() as other:
        pid = other.info.backend_pid
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "locked")
    assert f"Session {pid} of role postgres has locked public.{table} against everybody" in caplog.text
    assert Client().get("/readyz").json()["checks"]["database"] != "locked"


@pytest.mark.usefixtures("fresh")
def test_excluded_checks_are_shown_but_do_not_decide() -> None:
    QueueState.objects.all().delete()
    assert failing() == {"queue"}
    assert Client().get("/readyz?exclude=sweep").status_code == 503
    answer = Client().get("/readyz?exclude=sweep&exclude=queue")
    assert answer.status_code == 200
    assert answer.json()["checks"]["queue"] == "failing"
