"""Tests of polls: what they answer, when they answer 304 without reading the page, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from alerts.models import Alert, Monitor
from jobs.models import Job, JobEvent, QueueState, RecoveryControl, Status, WorkerHeartbeat
from opsconsole import customers, live_pages, overview
from opsconsole.kit import pauses
from opsconsole.kit.change_counters import writes_to
from opsconsole.live_pages import Version
from ratelimits.models import LimiterControl, RateLimitRequest
from tests import people
from tests.factories import job, run
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db(transaction=True)

JOBS = "/admin/jobs/job/"
MOST_STATEMENTS = 12
# An age in days says the same however slowly a test runs.
LONG_AGO = {"created_at": Now() - timedelta(days=3.5), "updated_at": Now() - timedelta(days=3.5)}


def counted_at_once() -> None:
    """Let PostgreSQL count at the end of the next transaction what this connection has written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")


@pytest.fixture
def client(client: Client, settings: Any) -> Client:
    # The rows that migrations create, which these tests' databases lack.
    LimiterControl.objects.get_or_create(pk=1)
    RecoveryControl.objects.update_or_create(pk=1, defaults={"mode": RecoveryControl.Mode.ARMED})
    overview.memory.clear()
    client.force_login(people.operator())
    return client


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that lets this many seconds pass for the answers to polls."""
    passed = [0]
    began = int(time.time())
    monkeypatch.setattr(live_pages, "_now", lambda: began + passed[0])

    def pass_by(seconds: int) -> None:
        passed[0] += seconds

    return pass_by


def poll(client: Client, address: str, etag: str = "") -> Any:
    return client.get(address, headers={"X-Poll": "1", **({"If-None-Match": etag} if etag else {})})


def test_unchanged_page_is_not_rendered_until_time_must_have_changed_it(
    client: Client, later: Callable[[int], None]
) -> None:
    job(status=Status.FAILED, customer_id="CUST-1", **LONG_AGO)
    counted_at_once()
    first = poll(client, JOBS)
    assert first.status_code == 200
    assert "CUST-1" in first.content.decode()
    assert "<html" not in first.content.decode()
    assert first.headers["ETag"].startswith('W/"')

    # What was cached when the page was rendered may be older than what was counted.
    later(3)
    second = poll(client, JOBS, first.headers["ETag"])
    assert second.status_code == 304
    assert second.templates != []

    later(4)
    with CaptureQueriesContext(connection) as queries:
        third = poll(client, JOBS, second.headers["ETag"])
    assert (third.status_code, third.content, third.templates) == (304, b"", [])
    # The session, the person, their permissions, and what PostgreSQL has counted.
    assert len(queries) <= 6
    assert not any('FROM "jobs"' in query["sql"] for query in queries)

    later(live_pages.RENDERED_EVERY)
    assert poll(client, JOBS, third.headers["ETag"]).templates != []


def test_written_row_is_shown_by_the_next_poll(client: Client, later: Callable[[int], None]) -> None:
    made = job(status=Status.FAILED, customer_id="CUST-1")
    counted_at_once()
    etag = poll(client, JOBS).headers["ETag"]
    later(7)
    etag = poll(client, JOBS, etag).headers["ETag"]

    # Another program writes, which knows nothing of the console.
    Job.objects.filter(pk=made.pk).update(customer_id="CUST-2")
    counted_at_once()

    answer = poll(client, JOBS, etag)
    assert answer.status_code == 200
    assert "CUST-2" in answer.content.decode()


def test_database_that_counts_nothing_is_read_every_time(
    client: Client, later: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_pages, "writes_to", lambda models: None)
    made = job(status=Status.FAILED, customer_id="CUST-1", **LONG_AGO)
    etag = poll(client, JOBS).headers["ETag"]
    later(7)
    same = poll(client, JOBS, etag)
    assert same.status_code == 304
    Job.objects.filter(pk=made.pk).update(customer_id="CUST-2")

    assert "CUST-2" in poll(client, JOBS, same.headers["ETag"]).content.decode()


def test_partitions_and_missing_tables_are_counted() -> None:
    counted_at_once()
    before = writes_to([JobEvent])
    JobEvent.objects.create(job=job(), kind="claimed", actor="test")
    counted_at_once()

    assert before is not None
    assert writes_to([JobEvent]) == before + 1


def test_poll_asks_for_the_permissions_of_its_page(client: Client, later: Callable[[int], None]) -> None:
    nobody = people.viewer()
    client.force_login(nobody)
    counted_at_once()
    etag = poll(client, JOBS).headers["ETag"]
    later(7)
    assert poll(client, JOBS, etag).status_code == 304

    nobody.user_permissions.clear()
    nobody.groups.clear()
    assert poll(client, JOBS, etag).status_code == 403
    client.logout()
    assert poll(client, JOBS, etag).status_code == 401


def test_row_that_was_deleted_is_gone(client: Client) -> None:
    made = job()
    address = reverse("admin:jobs_job_change", args=[made.pk])
    assert poll(client, address).status_code == 200
    made.delete()

    assert poll(client, address).status_code == 410


def test_every_live_page_answers_polls_within_the_statements_of_a_page(client: Client) -> None:
    run()
    alert = Alert.objects.create(fingerprint="x", rule="dlq_not_empty", title="One", severity="warning")
    QueueState.objects.create(name="default")
    WorkerHeartbeat.objects.get_or_create(worker_id="w")
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model, of_it in admin.site._registry.items()
        if getattr(of_it, "live_on", ())
    ]
    rows = [
        reverse("admin:jobs_job_change", args=[Job.objects.earliest("pk").pk]),
        reverse("admin:alerts_alert_change", args=[alert.pk]),
        reverse("admin:jobs_workerheartbeat_change", args=["w"]),
        reverse("admin:jobs_queuestate_change", args=["default"]),
    ]
    assert len(lists) >= 8
    costs = {}
    for address in [reverse("admin:index"), *lists, *rows]:
        page = client.get(address).content.decode()
        assert f'data-live="{address}"' in page, address
        answer = poll(client, address)
        assert answer.status_code == 200, address
        assert 'id="content"' in answer.content.decode(), address
        costs[address] = len(fewest_statements(client, address, headers={"X-Poll": "1"}))
    assert {address: cost for address, cost in costs.items() if cost > MOST_STATEMENTS} == {}


def test_messages_wait_for_a_page_that_somebody_opens(client: Client) -> None:
    client.get(reverse("admin:jobs_job_change", args=["5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901"]))

    assert "There is no job with this id" not in poll(client, "/admin/").content.decode()
    assert "There is no job with this id" in client.get("/admin/").content.decode()


def test_live_pages_say_since_when_the_cluster_is_silent(client: Client) -> None:
    minute = timedelta(minutes=1)
    Monitor.objects.create(name="sweep", interval=2 * minute, last_ok_at=Now() - 10 * minute)
    Monitor.objects.create(name="dead letter check (a)", interval=5 * minute)
    overview.memory.clear()
    assert "Silent since" in poll(client, JOBS).content.decode()

    Monitor.objects.filter(name__startswith="dead").delete()
    overview.memory.clear()
    page = client.get(JOBS).content.decode()
    assert "The cluster has been silent since" in page


def test_monitor_that_falls_silent_while_its_page_is_open_is_late(
    client: Client, later: Callable[[int], None]
) -> None:
    monitors = reverse("admin:alerts_monitor_changelist")
    made = Monitor.objects.create(name="nightly export", interval=timedelta(days=1), last_ok_at=Now())
    assert f'data-live="{monitors}"' in client.get(monitors).content.decode()
    first = poll(client, monitors)
    assert "In time" in first.content.decode()

    Monitor.objects.filter(pk=made.pk).update(last_ok_at=Now() - timedelta(days=9))
    later(live_pages.RENDERED_EVERY)
    second = poll(client, monitors, first.headers["ETag"])
    assert (second.status_code, "Late" in second.content.decode()) == (200, True)


def _refused_once() -> None:
    RateLimitRequest.objects.create(
        key="address:203.0.113.77", endpoint="/", method="GET", outcome="limited", policy="strict"
    )


CHANGES_ELSEWHERE: dict[str, tuple[Callable[[], object], str]] = {
    "jobs_recoverycontrol": (
        lambda: RecoveryControl.objects.update(mode=RecoveryControl.Mode.OBSERVE),
        "only observes",
    ),
    "opsconsole_pause": (
        lambda: pauses.begin(pauses.DEAD_LETTER_CHECKS, by="zoe", reason="a migration", lasting=None),
        "a migration",
    ),
    "ratelimits_limitercontrol": (
        lambda: LimiterControl.objects.update(mode="off", changed_by="zoe", changed_at=Now()),
        "zoe",
    ),
    "ratelimits_ratelimithour": (_refused_once, "203.0.113.77"),
}


@pytest.mark.parametrize("page", CHANGES_ELSEWHERE)
def test_pages_of_switches_and_figures_show_what_others_change(
    client: Client, later: Callable[[int], None], page: str
) -> None:
    change, told = CHANGES_ELSEWHERE[page]
    address = reverse(f"admin:{page}_changelist")
    assert f'data-live="{address}"' in client.get(address).content.decode()
    first = poll(client, address)
    assert told not in first.content.decode()

    change()
    later(live_pages.RENDERED_EVERY)
    second = poll(client, address, first.headers["ETag"])

    assert second.status_code == 200
    assert told in second.content.decode()


@pytest.mark.parametrize("header", ["", '"nonsense"', 'W/"a.b.c.d"', 'W/"ab.1.2.cd'])
def test_foreign_etags_are_not_ours(header: str) -> None:
    assert Version.parse(header) is None


def test_version_survives_a_proxy_that_makes_it_strong_or_weak() -> None:
    version = Version("ab", 1, 2, "cd")

    assert Version.parse(str(version)) == Version.parse(str(version).removeprefix("W/")) == version


def test_page_of_a_customer_updates_itself(client: Client, later: Callable[[int], None]) -> None:
    made = job(status=Status.FAILED, customer_id="CUST-1", **LONG_AGO)
    address = customers.url_of("CUST-1")
    assert f'data-live="{escape(address)}"' in client.get(address).content.decode()
    counted_at_once()
    first = poll(client, address)
    assert "<html" not in first.content.decode()
    later(7)
    unchanged = poll(client, address, first.headers["ETag"])
    assert unchanged.status_code == 304

    Job.objects.filter(pk=made.pk).update(status=Status.COMPLETED)
    counted_at_once()

    assert "Completed 1" in poll(client, address, unchanged.headers["ETag"]).content.decode()
    Job.objects.all().delete()
    counted_at_once()
    assert poll(client, address).status_code == 410
