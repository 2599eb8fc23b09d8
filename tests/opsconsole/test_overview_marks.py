"""Tests of the marks on the overview's charts: deploys, pauses and switches, for those who may see their pages."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from jobs.models import RecoveryControl
from opsconsole import overview
from opsconsole.kit import audit, pauses
from tests import people

pytestmark = pytest.mark.django_db


def page(client: Client, user: User) -> str:
    overview.memory.clear()
    client.force_login(user)
    return client.get("/admin/").content.decode()


def test_charts_mark_pauses_and_switches_and_say_what_the_numbers_are(client: Client) -> None:
    olga = people.operator()
    control, _ = RecoveryControl.objects.get_or_create(pk=1)
    audit.log(olga, [control], "Armed recovery.", why="All is well")
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy 4218")

    seen = page(client, olga)

    charts = seen.count('<figure class="chart">')
    assert charts == 6
    assert seen.count('<g class="mark">') == 2 * charts
    assert "Armed recovery</a>" in seen and ": All is well</li>" in seen
    assert ": deploy 4218</li>" in seen


def test_marks_quote_pages_that_not_everybody_may_see(client: Client) -> None:
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy 4218")
    blind = User.objects.create_user("jobs only", is_staff=True)
    blind.user_permissions.add(Permission.objects.get(codename="view_job"))

    seen = page(client, blind)

    assert '<figure class="chart">' in seen
    assert "deploy 4218" not in seen and '<g class="mark">' not in seen


def test_day_without_a_pause_has_no_marks(client: Client) -> None:
    seen = page(client, people.operator())

    assert "Deploys, pauses and switches" not in seen


def test_charts_of_the_limiter_are_marked_too(client: Client) -> None:
    olga = people.operator()
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy 4218")
    client.force_login(olga)

    seen = client.get("/admin/ratelimits/ratelimithour/").content.decode()

    assert seen.count('<g class="mark">') == seen.count('<figure class="chart">') == 2
    assert ": deploy 4218</li>" in seen
