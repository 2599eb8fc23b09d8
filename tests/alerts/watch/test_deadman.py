"""Dead-man's switches: when they are pinged, and failures of the service that is pinged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now
from django.test import Client
from pytest_django.fixtures import Settings

from alerts import notify
from alerts.models import DeadManPing, Monitor
from alerts.watch import deadman
from opsconsole.kit import newest_seal
from opsconsole.seals import sealer
from tests.alerts.web import Web, refusing, serving
from tests.people import viewer
from tests.racing import race

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)
TWO = 2 * MINUTE
PATH = "/secret-name"


@pytest.fixture
def web(settings: Settings) -> Iterator[Web]:
    with serving() as server:
        settings.OPSCONSOLE_DEADMAN_SWEEP_URL = server.url + PATH
        settings.OPSCONSOLE_DEADMAN_CHECK_URL = None
        yield server


def succeed(name: str = "sweep", *, ago: timedelta = timedelta(0)) -> None:
    """Record a success of the monitor, and move the last ping far enough into the past."""
    notify.monitor_ok(name, TWO)
    Monitor.objects.filter(pk=name).update(last_ok_at=Now() - ago)
    DeadManPing.objects.update(pinged_at=Now() - TWO)


def test_each_success_sends_one_ping(web: Web) -> None:
    assert deadman.ping_due() == ""
    succeed()
    assert deadman.ping_due() == "sweep: HTTP 200"
    assert deadman.ping_due() == ""
    assert web.requests == [f"GET {PATH}"]

    succeed()
    deadman.ping_due()

    assert web.requests == [f"GET {PATH}"] * 2
    row = DeadManPing.objects.get()
    assert (row.answer, row.failing_since) == ("HTTP 200", None)
    assert row.ok_at and row.pinged_at and row.ok_at >= row.pinged_at


def test_frequent_successes_send_one_ping_per_interval(web: Web) -> None:
    succeed()
    deadman.ping_due()
    notify.monitor_ok("sweep", TWO)
    assert deadman.ping_due() == ""
    DeadManPing.objects.update(pinged_at=Now() - TWO + timedelta(seconds=20))
    assert deadman.ping_due() == ""
    DeadManPing.objects.update(pinged_at=Now() - TWO + timedelta(seconds=5))
    assert deadman.ping_due() == "sweep: HTTP 200"


def test_old_success_sends_no_ping(web: Web) -> None:
    succeed(ago=2 * TWO + timedelta(seconds=1))
    assert deadman.ping_due() == ""
    assert web.requests == []


@pytest.mark.django_db(transaction=True)
def test_concurrent_clusters_send_one_ping(web: Web) -> None:
    succeed()
    assert sorted(race([deadman.ping_due] * 4)) == ["", "", "", "sweep: HTTP 200"]
    assert len(web.requests) == 1


def test_ping_needs_a_success_of_every_check(web: Web, settings: Settings) -> None:
    settings.OPSCONSOLE_DEADMAN_CHECK_URL = web.url + "/check"
    succeed("dead letter check (jobs-dlq)", ago=MINUTE)
    succeed("dead letter check (slow-dlq)", ago=MINUTE)
    assert deadman.ping_due() == "check: HTTP 200"

    succeed("dead letter check (jobs-dlq)")
    assert deadman.ping_due() == "", "the check of one queue does not succeed any more"

    succeed("dead letter check (slow-dlq)")
    assert deadman.ping_due() == "check: HTTP 200"
    assert web.requests == ["GET /check"] * 2


@pytest.mark.parametrize("status", [302, 404, 500])
def test_failed_ping_is_recorded(web: Web, status: int) -> None:
    web.status, web.headers = status, {"Location": "/login"}
    succeed()
    assert deadman.ping_due() == f"sweep: HTTP {status}"
    assert DeadManPing.objects.get().failing_since
    assert len(web.requests) == 1


def test_hanging_switch_times_out(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadman, "TIMEOUT_SECONDS", (0.2, 0.2))
    web.silent = True
    succeed()
    assert deadman.ping_due() == "sweep: no answer in time"


def test_refused_connection_is_logged_once_without_the_url(
    settings: Settings, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "alerts.watch.deadman")
    good = settings.OPSCONSOLE_DEADMAN_SWEEP_URL
    settings.OPSCONSOLE_DEADMAN_SWEEP_URL = refusing() + PATH
    for _ in range(3):
        succeed()
        assert deadman.ping_due() == "sweep: no connection"
    first = DeadManPing.objects.get().failing_since
    settings.OPSCONSOLE_DEADMAN_SWEEP_URL = good
    succeed()
    deadman.ping_due()

    assert first and DeadManPing.objects.get().failing_since is None
    assert [record.message for record in caplog.records if record.name == "alerts.watch.deadman"] == [
        "The dead-man's switch 'sweep' did not accept a ping: no connection.",
        "The dead-man's switch 'sweep' accepts pings again.",
    ]
    assert "secret-name" not in caplog.text


def test_switch_removed_from_the_settings_is_deleted(web: Web, settings: Settings) -> None:
    succeed()
    deadman.ping_due()
    settings.OPSCONSOLE_DEADMAN_SWEEP_URL = None
    succeed()
    assert deadman.ping_due() == ""
    assert not DeadManPing.objects.exists()


def test_page_shows_the_answer_but_not_the_url(web: Web) -> None:
    web.status = 500
    succeed()
    deadman.ping_due()
    client = Client()
    client.force_login(viewer())

    html = client.get("/admin/alerts/deadmanping/").content.decode()

    assert "HTTP 500" in html and "Not accepted" in html
    assert "secret-name" not in html


def test_newest_seal_travels_with_the_ping(web: Web, settings: Settings) -> None:
    settings.OPSCONSOLE_DEADMAN_SEAL = "body"
    succeed()
    assert deadman.ping_due() == "sweep: HTTP 200"
    assert (web.requests, web.bodies) == ([f"GET {PATH}"], [""]), "nothing is sealed yet"
    LogEntry.objects.create(user=viewer(), action_flag=2, object_repr="x")
    sealer.seal()
    anchor = newest_seal.anchor()
    succeed()
    deadman.ping_due()
    assert (web.requests[-1], web.bodies[-1]) == (f"POST {PATH}", f"seal {anchor}\n")
    settings.OPSCONSOLE_DEADMAN_SEAL = "query"
    succeed()
    deadman.ping_due()
    assert (web.requests[-1], web.bodies[-1]) == (f"GET {PATH}?{urlencode({'seal': anchor})}", "")
