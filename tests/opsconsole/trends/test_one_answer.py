"""Tests that the overview's chart and the trends count the same runs, so that a bar opens as many as it shows."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from jobs.watch import hourly_counts
from opsconsole import overview
from opsconsole.kit import figures
from opsconsole.trends.ended_runs import Outcome
from tests import people
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind, ended

pytestmark = pytest.mark.django_db
LINK = re.compile(r'<td><a href="([^"]*/runs/[^"]*)">([0-9,]+)</a></td>')


@pytest.fixture
def operator(client: Client) -> Client:
    """Return somebody who looks at two hours in which runs ended in every way, all of them counted."""
    hour = timelines.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    for minute, kind in enumerate(
        (Kind.COMPLETED, Kind.COMPLETED, Kind.COMPLETED, Kind.FAILED, Kind.FAILED, Kind.RETRY_SCHEDULED,
         Kind.RECOVERED, Kind.QUARANTINED)
    ):  # fmt: skip
        ended(hour + timedelta(minutes=5 + minute), kind=kind)
    timelines.count()
    hourly_counts.count()
    overview.memory.clear()
    client.force_login(people.operator())
    return client


def test_each_figure_of_the_chart_opens_a_list_of_as_many_runs(operator: Client) -> None:
    links = [
        (unescape(url), int(number)) for url, number in LINK.findall(operator.get("/admin/").content.decode())
    ]

    assert [(number, url.partition("ended=")[2]) for url, number in links] == [
        (3, "completed"),
        (2, "failed"),
    ]
    for url, number in links:
        found = operator.get(url).context["found"]
        assert found.counted == len(found.runs) == number


def test_bars_lead_where_their_figures_do(operator: Client) -> None:
    page = operator.get("/admin/").content.decode()

    assert page.count('tabindex="-1"><rect') == 2


@pytest.mark.usefixtures("operator")
def test_both_know_the_same_outcomes_by_the_same_events() -> None:
    hours = figures.hours_to_now(2)
    rows = figures.stored([f"jobs {outcome}" for outcome in Outcome], hours)

    assert {name: value for name, _, value in rows} == {"jobs completed": 3, "jobs failed": 2}


def test_who_may_not_see_jobs_gets_no_links(operator: Client) -> None:
    blind = User.objects.create_user("sweeps only", is_staff=True)
    blind.user_permissions.add(Permission.objects.get(codename="view_sweep"))
    operator.force_login(blind)

    page = operator.get("/admin/").content.decode()

    assert '<figure class="chart">' in page and "/runs/" not in page
