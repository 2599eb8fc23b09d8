"""Tests that each bar of a chart opens exactly the rows that it counts, or that the chart says why it can't."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import JobEvent, Status
from jobs.watch import hourly_counts
from opsconsole import overview
from opsconsole.kit.charts import Chart
from opsconsole.kit.durations import HOUR, MINUTE
from opsconsole.trends import hour_events
from ratelimits.models import RateLimitRequest
from ratelimits.models.hour import hash_key
from ratelimits.records import counted_requests, recording, usage_report
from tests import people
from tests.factories import job, run
from tests.opsconsole.trends import timelines

pytestmark = pytest.mark.django_db
Kind = JobEvent.Kind
KINDS = (Kind.COMPLETED, Kind.COMPLETED, Kind.FAILED, Kind.QUARANTINED, Kind.CANCELLED, Kind.RECOVERED)
NOISY, CALM = "address:203.0.113.7", "address:198.51.100.20"


@pytest.fixture
def day(client: Client) -> Client:
    """Return the client of an operator of a console in which much happened in this hour and the one before."""
    overview.memory.clear()
    # Counted are the hours of the clock.
    timelines.within_one_hour(happen)
    client.force_login(people.operator())
    return client


def happen(now: datetime) -> None:
    for at in (now, now - HOUR):
        for kind in KINDS:
            timelines.event(job(created_at=at), kind, at)
    # One job that failed twice is counted twice.
    timelines.event(JobEvent.objects.filter(kind=Kind.FAILED)[0].job, Kind.FAILED, now, run=2)
    run()
    record(NOISY, "limited", 50)
    record(NOISY, "limited", 30, ago=65 * MINUTE)
    recording.cleanup()
    hourly_counts.count()


def record(key: str, outcome: str, hits: int, *, ago: timedelta = timedelta(0), **fields: Any) -> None:
    of = {"key": key, "endpoint": "/api/jobs", "method": "POST", "policy": "standard"} | fields
    RateLimitRequest.objects.create(outcome=outcome, hits=hits, created_at=Now() - ago, **of)


def figures_of(chart: Chart) -> Iterator[tuple[str, int]]:
    """Yield each figure above zero of the chart's table, with the address of its list; '' where there is none."""
    for row in chart.cells:
        for figure, url in row[1:]:
            if figure not in {"0", "unknown"}:
                yield url, int(figure.replace(",", ""))


def charts(client: Client) -> dict[str, Chart]:
    page = client.get(reverse("admin:index"))
    return {each.chart.title: each.chart for each in page.context["history"].charts}


def listed(client: Client, url: str) -> int:
    """Return how many rows a list says that it has, which must be as many as it shows."""
    context = client.get(url).context
    if "cl" in context:
        return len(context["cl"].result_list)
    if "total" in context:
        assert sum(line.hits for line, *_ in context["rows"]) == int(context["total"].split()[0])
        return int(context["total"].split()[0])
    assert len(context["rows"]) == int(context["counted"].split()[0])
    return len(context["rows"])


@pytest.mark.parametrize(
    ("title", "figures"),
    [
        ("Runs by outcome, UTC", 8),
        ("Jobs that arrived", 2),
        ("Runs recovered", 2),
        ("Requests refused with 429", 2),
    ],
)
def test_each_figure_of_the_overview_opens_what_it_counts(day: Client, title: str, figures: int) -> None:
    seen = list(figures_of(charts(day)[title]))

    assert len(seen) == figures
    assert [listed(day, url) for url, _ in seen] == [figure for _, figure in seen]


def test_bars_lead_where_the_figures_of_the_table_lead(day: Client) -> None:
    for chart in charts(day).values():
        urls = [url for url, _ in figures_of(chart)]
        assert sorted(bar.url for bar in chart.bars) == sorted(urls), chart.title


def test_readings_have_no_list_and_say_so(day: Client) -> None:
    chart = charts(day)["Waiting and running, highest count per hour"]
    assert {url for url, _ in figures_of(chart)} == {""}
    assert "These are readings: which jobs they counted is not kept." in chart.summary
    assert "Unknown in 23 of 24 hours." in chart.summary


def test_each_figure_of_the_flow_leads_to_its_list_and_its_hours(day: Client) -> None:
    page = day.get(reverse("admin:index"))
    for step in page.context["flow"]:
        assert f'<section class="panel" id="{step.anchor}">' in page.text
        assert f'href="#{step.anchor}" aria-label="{step.by_hour}"' in page.text


def test_who_sees_no_jobs_gets_no_links_to_them(day: Client) -> None:
    limited = User.objects.create_user("sweeps only", is_staff=True)
    limited.user_permissions.add(Permission.objects.get(codename="view_sweep"))
    day.force_login(limited)
    [chart] = charts(day).values()
    assert chart.title == "Runs recovered"
    assert {url for url, _ in figures_of(chart)} == {""} == {bar.url for bar in chart.bars}


def test_list_of_an_hour_goes_on_where_a_page_ends(day: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hour_events, "SHOWN", 2)
    at, of = timelines.now() - 5 * HOUR, job(status=Status.FAILED)
    events = [timelines.event(of, Kind.FAILED, at, run=run_) for run_ in range(1, 6)]
    url, seen = hour_events.list_url("failed", at.replace(minute=0, second=0, microsecond=0)), []
    while url:
        shown = day.get(url)
        seen += [row["id"] for row in shown.context["rows"]]
        assert shown.context["counted"] == "5 events"
        older = shown.context["older_url"]
        url = older and reverse(hour_events.PAGE) + older
    assert seen == events[::-1]


@pytest.mark.parametrize(
    "query",
    [
        "?kind=failed&at=2026-11-27T20:30Z",
        "?kind=claimed&at=2026-11-27T20:00Z",
        "?kind=failed&at=nonsense",
        "?kind=failed&at=9999-12-31T23:00Z",
    ],
)
def test_hour_that_no_bar_has_is_not_found(day: Client, query: str) -> None:
    assert day.get(reverse(hour_events.PAGE) + query).status_code == 404


@pytest.fixture
def requests(client: Client) -> Client:
    """Return the client of an operator of a console that counted requests in minutes, hours and days."""
    record(NOISY, "allowed", 100, ago=2 * MINUTE)
    record(NOISY, "limited", 50, ago=MINUTE)
    record(CALM, "allowed", 7, ago=MINUTE)
    record(CALM, "shadow", 2, ago=MINUTE, policy="relaxed")
    record(CALM, "a word of others", 5, ago=MINUTE)
    record(NOISY, "limited", 30, ago=65 * MINUTE)
    record("address:192.0.2.9", "denied", 4, ago=26 * HOUR, policy="strict")
    recording.cleanup()
    client.force_login(people.operator())
    return client


@pytest.mark.parametrize("period", usage_report.PERIODS)
@pytest.mark.parametrize("query", ["", "&policy=standard"])
def test_each_bar_of_limited_requests_opens_what_it_counts(requests: Client, period: str, query: str) -> None:
    page = requests.get(f"{reverse('admin:ratelimits_ratelimithour_changelist')}?period={period}{query}")
    seen = [figure for chart in page.context["charts"] for figure in figures_of(chart)]
    assert len(seen) > 2
    assert [listed(requests, url) for url, _ in seen] == [figure for _, figure in seen]


@pytest.mark.parametrize("known_by", ["key", "hash"])
def test_each_bar_of_a_client_opens_what_it_counts(requests: Client, known_by: str) -> None:
    who = {"key": NOISY, "hash": hash_key(NOISY)}[known_by]
    page = requests.get(reverse("admin:ratelimits_ratelimithour_client"), {known_by: who, "period": "day"})
    seen = [figure for chart in page.context["charts"] for figure in figures_of(chart)]
    assert sum(figure for _, figure in seen) == 80 + 180
    assert [listed(requests, url) for url, _ in seen] == [figure for _, figure in seen]


def test_minute_that_is_no_longer_kept_alone_opens_its_hour(requests: Client) -> None:
    minute = (timelines.now() - 65 * MINUTE).replace(second=0, microsecond=0)
    page = requests.get(counted_requests.list_url(minute, MINUTE, "limited"))
    assert "Single minutes are kept for an hour. These are the requests of the whole hour." in page.text
    assert page.context["step"].length == HOUR


def test_lines_that_do_not_fit_are_counted_and_named(
    requests: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted_requests, "SHOWN", 1)
    at = (timelines.now() - 30 * MINUTE).replace(second=0, microsecond=0)
    RateLimitRequest.objects.update(created_at=at)
    page = requests.get(counted_requests.list_url(at, MINUTE, "admitted"))
    assert page.context["total"] == "114 requests"
    assert "2 more lines with fewer requests." in page.text


@pytest.mark.parametrize(
    "query",
    [
        "?at=2026-11-27T20:30Z&minutes=60&counted=limited",
        "?at=2026-11-27T20:00Z&minutes=7&counted=limited",
        "?at=2026-11-27T20:00Z&minutes=60&counted=all",
        "?at=nonsense&minutes=60&counted=limited",
        "?at=2026-11-27T20:00Z&minutes=&counted=limited",
    ],
)
def test_step_that_no_bar_has_is_not_found(requests: Client, query: str) -> None:
    assert requests.get(reverse(counted_requests.PAGE) + query).status_code == 404
