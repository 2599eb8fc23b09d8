"""Tests of the overview's layers: how work flows, and the machinery in one line."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.models import JobEvent, Status
from jobs.watch import hourly_counts
from opsconsole import overview
from opsconsole.kit import charts, figures
from opsconsole.kit.models import HourlyFigure
from opsconsole.overview.charts_and_events import Watch
from tests import people
from tests.factories import job, run
from tests.opsconsole.test_overview import HOUR, NOW, WELL
from tests.page_costs import fewest_statements

LATE = Watch("sweep", NOW - HOUR, NOW - HOUR / 2, late=True)


def test_line_breaks_where_a_value_is_unknown() -> None:
    line = charts.sparkline([0, 4, None, 2], [8, 8, 8, 8])
    assert line.parts == ["0,31 40,16", "120,23.5"]
    assert line.before == ["0,1 40,1 80,1 120,1"]
    assert charts.sparkline([None], [None]).parts == []


@pytest.mark.django_db
def test_flow_shows_today_and_the_day_before() -> None:
    overview.memory.clear()
    job()
    job(created_at=Now() - timedelta(hours=30))
    job(not_before=Now() + HOUR)
    run()
    job(status=Status.FAILED)
    hourly_counts.count()
    HourlyFigure.objects.create(name="jobs arrived", hour=_hours_ago(30), value=7)
    HourlyFigure.objects.create(name="jobs completed", hour=_hours_ago(3), value=5)
    steps = {
        step.label.replace("\xa0", " "): step
        for step in overview.flow.steps(overview.read(), people.operator())
    }

    assert [(label, step.shown) for label, step in steps.items()] == [
        ("Jobs arrived in 24 h", "4"),
        ("Jobs waiting", "2"),
        ("Jobs running", "1"),
        ("Runs done in 24 h", "5"),
        ("Jobs failed in 24 h", "1"),
    ]
    assert steps["Jobs arrived in 24 h"].before == "the day before 7"
    since = figures.begin_in_words(figures.hours_to_now(24))
    assert steps["Runs done in 24 h"].before == f"since {since}", "nobody counted the day before"
    # One job, of which a run failed before it was counted: its events are the chart's.
    assert steps["Jobs failed in 24 h"].before == f"0 failed runs recorded since {since}"
    assert steps["Jobs waiting"].before == "", "nobody read it yesterday at this hour"
    assert len(steps["Jobs waiting"].course.line.parts) == 1, "the hours before are unknown, not zero"


@pytest.mark.django_db
def test_failed_jobs_name_the_runs_that_their_chart_shows(client: Client) -> None:
    overview.memory.clear()
    failed = job(status=Status.FAILED)
    for epoch in (1, 2):
        JobEvent.objects.create(
            job_id=failed.pk, run_epoch=epoch, kind=JobEvent.Kind.FAILED, actor="worker:w"
        )
    hourly_counts.count()
    client.force_login(people.operator())
    page = client.get(reverse("admin:index")).content.decode()
    since = figures.begin_in_words(figures.hours_to_now(24))
    assert f"2 failed runs recorded since {since}" in page
    assert f"Runs since {since}: 0 completed, 2 failed, 0 quarantined, 0 cancelled." in page


def test_beginning_of_a_day_of_hours_is_named_with_its_day() -> None:
    night = datetime(2026, 1, 2, 9, tzinfo=UTC)
    assert figures.begin_in_words([night - HOUR * 23, night]) == "10:00 yesterday"
    assert figures.begin_in_words([night - HOUR * 9, night]) == "00:00"


def _hours_ago(hours: int) -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)


@pytest.mark.django_db
def test_healthy_machinery_is_one_folded_line(client: Client) -> None:
    olga = people.operator()
    machinery = overview.in_one_line(WELL, [], olga)
    assert machinery and machinery.healthy
    assert (
        machinery.sentence
        == "3 workers alive, 1 dead, messages sent in time, last sweep 60 s ago, no monitor late"
    )
    lost = overview.in_one_line(replace(WELL, workers_silent=2), [], olga)
    assert lost and lost.sentence.startswith("3 workers alive, 2 silent, 1 dead, ")

    ill = overview.in_one_line(replace(WELL, overdue=2, workers_alive=0), [LATE], olga)
    assert ill and not ill.healthy
    assert ill.sentence == "0 workers alive, 1 dead, 2 messages overdue, late: sweep"

    nobody = people.viewer()
    nobody.user_permissions.clear()
    assert overview.in_one_line(WELL, [], nobody) is None
    assert overview.flow.steps(WELL, nobody) == []


@pytest.mark.django_db
def test_each_need_has_its_one_action_beside_it(client: Client) -> None:
    overview.memory.clear()
    job(status=Status.QUARANTINED)
    client.force_login(people.operator())
    page = client.get(reverse("admin:index")).content.decode()
    verdict = page[page.index('class="verdict') : page.index("How work flows")]
    assert verdict.count('class="act"') == verdict.count('class="need')


@pytest.mark.django_db
def test_refresh_from_the_cache_takes_few_statements(client: Client) -> None:
    """Hold what a refresh of the whole overview costs when something changed; otherwise it is a 304."""
    overview.memory.clear()
    client.force_login(people.operator())
    live = reverse("admin:overview_live")

    asked = fewest_statements(client, live)

    assert len(asked) <= 12, asked
    assert len(gzip.compress(client.get(live).content)) < 12_000
