"""One table of cases for whether a worker is alive or of the old kind, checked in each implementation (I12)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.inspection import catalog, workers
from jobs.models import Status, WorkerHeartbeat
from jobs.models.worker import Life, silent_after, stale_after
from jobs.recovery import lost_messages
from opsconsole import overview
from tests import factories, people
from tests.factories import SECOND
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_workerheartbeat_changelist")
HOUR = timedelta(hours=1)
# The settings are a beat every 15 seconds and a threshold of ten minutes.
LIVES = {
    "just now": (SECOND, Life.ALIVE),
    "two beats missed": (40 * SECOND, Life.ALIVE),
    "three beats missed": (46 * SECOND, Life.SILENT),
    "nearly for the threshold": (595 * SECOND, Life.SILENT),
    "for the threshold": (601 * SECOND, Life.DEAD),
    "for hours": (9 * HOUR, Life.DEAD),
    "during its run": (9 * HOUR, Life.DEAD),
    "its run is over": (9 * HOUR, Life.ENDED),
    "its run was given away": (9 * HOUR, Life.ENDED),
    "its run is over, just now": (SECOND, Life.ALIVE),
}


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(people.operator())
    overview.memory.clear()
    return client


def made() -> None:
    for name, (ago, _) in LIVES.items():
        about: dict[str, Any] = {}
        if "run" in name:
            status = Status.COMPLETED if "over" in name else Status.IN_PROGRESS
            job = factories.job(status=status, run_epoch=2 if "given" in name else 1)
            about = {"current_job_id": job.pk, "current_run_epoch": 1, "started_at": Now() - ago - 6 * SECOND}
        WorkerHeartbeat.objects.create(
            worker_id=name, last_heartbeat=Now() - ago, metadata={"protocol": 1}, **about
        )


def expected(life: Life) -> set[str]:
    return {name for name, (_, its) in LIVES.items() if its == life}


@pytest.mark.parametrize("life", list(Life))
def test_list_filter_and_queryset_find_the_same_workers(operator: Client, life: Life) -> None:
    made()
    workers_now = WorkerHeartbeat.objects
    found = {
        Life.ALIVE: workers_now.alive,
        Life.SILENT: workers_now.silent,
        Life.DEAD: workers_now.dead,
        Life.ENDED: workers_now.ended,
    }[life]()
    assert set(found.values_list("pk", flat=True)) == expected(life)
    page = operator.get(LIST, {"state": life.value})
    assert {row.pk for row in page.context["cl"].result_list} == expected(life)
    assert {row.life(row.db_now) for row in page.context["cl"].result_list} == {life}
    badges = page.content.decode().partition("<tbody>")[2]
    assert [other for other in Life if f">{other.label}<" in badges] == [life]


def test_list_begins_with_the_workers_that_need_somebody(operator: Client) -> None:
    made()
    rows = operator.get(LIST).context["cl"].result_list
    lives = [row.life(row.db_now) for row in rows]
    worst_first = [Life.DEAD, Life.SILENT, Life.ALIVE, Life.ENDED]
    assert lives == sorted(lives, key=worst_first.index) and set(lives) == set(worst_first)
    silent = [row.pk for row in rows if row.life(row.db_now) == Life.SILENT]
    assert silent == ["three beats missed", "nearly for the threshold"]
    # A column that somebody sorts by has the last word.
    sorted_by_id = [row.pk for row in operator.get(LIST, {"o": "0"}).context["cl"].result_list]
    assert sorted_by_id == sorted(LIVES)


def test_worker_that_is_gone_was_up_until_its_last_heartbeat(operator: Client) -> None:
    made()
    rows = spaced(operator.get(LIST, {"state": "ended"}).content.decode()).partition("<tbody>")[2]
    assert rows.count(">6 s<") == 2 and "9 h ago" in rows
    assert "/admin/jobs/job/" not in rows


def test_overview_counts_live_workers(operator: Client) -> None:
    made()
    seen = overview.read()
    counts = {Life.ALIVE: seen.workers_alive, Life.SILENT: seen.workers_silent, Life.DEAD: seen.workers_dead}
    assert counts == {life: len(expected(life)) for life in counts}
    assert (silent_after(), stale_after()) == (45 * SECOND, 600 * SECOND)


@pytest.mark.parametrize(
    ("about", "ago", "old_kind", "in_use"),
    [
        ({}, SECOND, True, True),
        ({}, 23 * HOUR, True, True),
        ({}, 25 * HOUR, True, False),
        ({"metadata": {"protocol": 1}}, SECOND, False, False),
        ({"current_run_epoch": 3}, SECOND, False, False),
        ({"metadata": {"host": "x"}}, SECOND, True, True),
    ],
)
def test_workers_of_the_old_kind(
    operator: Client, settings: Any, about: dict[str, Any], ago: timedelta, old_kind: bool, in_use: bool
) -> None:
    settings.OPSCONSOLE_LOST_RESEND = "auto"
    worker = WorkerHeartbeat.objects.create(worker_id="w", last_heartbeat=Now() - ago, **about)
    said = {
        "the queryset": WorkerHeartbeat.objects.without_epochs().exists(),
        "the row": WorkerHeartbeat.objects.get(pk=worker.pk).is_of_old_kind,
        "the list": "Old kind" in operator.get(LIST).content.decode().partition("<tbody>")[2],
    }
    assert said == dict.fromkeys(said, old_kind)
    seen = {
        "re-sending": not lost_messages.resending(),
        "the inspection": "workers-without-epochs" in {finding.id for finding in inspected()},
    }
    assert seen == dict.fromkeys(seen, in_use)


def inspected() -> list[Any]:
    table = catalog.table("worker_heartbeats")
    assert table
    return list(workers.inspect(table, attached=True))
