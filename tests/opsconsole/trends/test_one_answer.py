"""Tests that the overview's chart and the trends count the same runs."""

from __future__ import annotations

from datetime import timedelta

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

    assert '<figure class="chart">' in page
    assert "/runs/" not in page and "/events/" not in page
