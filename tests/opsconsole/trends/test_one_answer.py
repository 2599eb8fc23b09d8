"""Tests that the overview's chart and the trends count the same runs."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from jobs.watch import hourly_counts
from opsconsole import overview
from opsconsole.kit import figures
from opsconsole.kit.durations import HOUR, MINUTE
from opsconsole.kit.postgresql.timestamps import begin_of
from opsconsole.trends.ended_runs import Outcome
from tests import people
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind, ended

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client) -> Client:
    """Return somebody who looks at two hours in which runs ended in every way, all of them counted."""
    timelines.within_one_hour(happen)
    overview.memory.clear()
    client.force_login(people.operator())
    return client


def happen(now: datetime) -> None:
    hour = begin_of(now, HOUR) - HOUR
    for minute, kind in enumerate(
        (Kind.COMPLETED, Kind.COMPLETED, Kind.COMPLETED, Kind.FAILED, Kind.FAILED, Kind.RETRY_SCHEDULED,
         Kind.RECOVERED, Kind.QUARANTINED)
    ):  # fmt: skip
        ended(hour + (5 + minute) * MINUTE, kind=kind)
    timelines.count()
    hourly_counts.count()


@pytest.mark.usefixtures("operator")
def test_both_know_the_same_outcomes_by_the_same_events() -> None:
    # One more than there are: the last one may have just begun.
    hours = figures.hours_to_now(3)
    rows = figures.stored([f"jobs {outcome}" for outcome in Outcome], hours[0])

    assert {name: value for name, _, value in rows} == {"jobs completed": 3, "jobs failed": 2}


def test_who_may_not_see_jobs_gets_no_links(operator: Client) -> None:
    blind = User.objects.create_user("sweeps only", is_staff=True)
    blind.user_permissions.add(Permission.objects.get(codename="view_sweep"))
    operator.force_login(blind)

    page = operator.get("/admin/").content.decode()

    assert '<figure class="chart">' in page
    assert "/runs/" not in page and "/events/" not in page
