"""The day behind: figures against their targets, charts, monitors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import notify
from alerts.models import Rule
from opsconsole import charts, day, figures, overview
from opsconsole.charts import Series
from opsconsole.day import judge
from ratelimits.models import RateLimitHour, RateLimitRequest
from tests import people
from tests.factories import job

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    overview.memory.clear()


@pytest.mark.parametrize(
    ("measured", "value", "tone"),
    [
        ([], None, "warning"),
        ([("dlq_not_empty", 0.0, None), ("dlq_not_empty", 0.0, None)], 0, ""),
        ([("dlq_not_empty", 2.0, None), ("dlq_not_empty", 3.0, None)], 5, "bad"),
        ([("dlq_not_empty", 2.0, None), ("dlq_not_empty", 3.0, "since then")], None, "warning"),
        ([("dlq_not_empty", None, None)], None, "warning"),
    ],
)
def test_a_figure_that_can_not_be_read_is_unknown_and_not_zero(measured: Any, value: Any, tone: str) -> None:
    found = judge("dlq_not_empty", [*measured, ("stale_jobs_day", 9.0, None)], 0)

    assert (found.value, found.tone) == (value, tone)


@pytest.mark.django_db
def test_the_overview_shows_targets_lines_charts_and_monitors(client: Client) -> None:
    Rule.objects.get_or_create(
        name="stale_jobs_day", defaults={"severity": "warning", "reminder_interval": HOUR}
    )
    Rule.objects.filter(name="stale_jobs_day").update(threshold=5)
    notify.measure("stale_jobs_day", 7, title="7 stale jobs in a day")
    notify.monitor_ok("sweep", timedelta(minutes=2))
    figures.set_counts([("runs recovered", timezone.now().replace(minute=0, second=0, microsecond=0), 4)])
    job(updated_at=Now() - 3 * HOUR)
    client.force_login(people.viewer())

    page = client.get(reverse("admin:index")).content.decode()

    assert "target 0, alert above 5" in page
    assert ">unknown<" in page
    assert "Recovered in 24 h" in page and "<dd>4</dd>" in page
    assert "3 h" in page
    assert page.count('<figure class="chart">') == 4
    assert "Sweep" in page and "Next due" in page
    assert " style=" not in page


@pytest.mark.django_db
def test_refused_requests_count_once_whether_rolled_up_or_not() -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    about = {"policy": "standard", "endpoint": "/x", "method": "GET", "outcome": "limited"}
    RateLimitHour.objects.create(hour=now - 3 * HOUR, key_hash="a", hits=5, **about)
    RateLimitRequest.objects.create(key="a", created_at=now, hits=2, **about)

    refused = day.charts_of_the_day()[2].rows

    assert [row[1] for row in refused if row[1] != "0"] == ["5", "2"]


def test_an_alert_line_above_all_bars_is_still_drawn() -> None:
    drawn = charts.stacked("x", ["a"], [Series("s", "bad", [3])], alert=100)

    assert drawn.alert
    assert drawn.alert.text == "alert above 100"
    assert 0 < float(drawn.alert.y) < charts.HEIGHT
    assert charts.stacked("x", ["a"], [Series("s", "bad", [3])]).alert is None


@pytest.mark.django_db
def test_a_warm_overview_asks_little(client: Client, django_assert_max_num_queries: Any) -> None:
    client.force_login(people.viewer())
    client.get(reverse("admin:index"))

    with django_assert_max_num_queries(12):
        client.get(reverse("admin:index"))
