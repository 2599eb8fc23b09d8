"""The page Trends: its charts count what their lists show, gaps are no zeros, and what people did is marked."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.models import Job, RunRollup, RunRollupState
from opsconsole.kit import pauses
from opsconsole.trends import drawing, report, run_counts, run_list
from opsconsole.trends.marks import Mark
from opsconsole.trends.periods import PERIODS
from tests.opsconsole.trends import timelines
from tests.opsconsole.trends.timelines import Kind, ended
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db
PAGE = "/admin/jobs/runrollup/"
HOUR = timedelta(hours=1)
BAR_LINK = re.compile(r'<td[^>]*><a href="([^"]*/runs/[^"]*)">([\d,]+)</a></td>')


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    report.memory.clear()
    yield
    report.memory.clear()


def shown(client: Client, query: str = "") -> str:
    return client.get(f"{PAGE}{query}").content.decode()


def known_since(span: timedelta) -> None:
    """Let the timelines be known to be complete for this long."""
    RunRollupState.objects.update(counted_from=timelines.now() - span)


def test_every_figure_of_the_table_is_the_number_of_rows_of_its_list(operator: Client) -> None:
    now = timelines.now()
    for hours in (1, 2, 30, 31, 100):
        for queue, number in (("default", 2), ("slow", 1)):
            for each in range(number):
                ended(
                    now - hours * HOUR, queue=queue, waited=each, customer_id=f"c-{each}", worker=f"w-{queue}"
                )
        ended(now - hours * HOUR, kind=Kind.FAILED)
        ended(now - hours * HOUR, kind=Kind.RECOVERED, worker="w-slow")
    # Ends twice within a bar.
    twice = ended(now - HOUR, kind=Kind.RETRY_SCHEDULED)
    timelines.event(twice, Kind.CLAIMED, now - HOUR, run=2)
    timelines.event(twice, Kind.COMPLETED, now - HOUR, run=2)
    timelines.count()

    looked_at = 0
    for query in (
        "?range=week",
        "?range=day",
        "?range=month&by=worker&only=w-slow",
        "?range=week&by=queue&only=slow",
    ):
        for url, figure in BAR_LINK.findall(shown(operator, query)):
            listed = operator.get(html.unescape(url))
            assert len(listed.context["rows"]) == int(figure)
            assert f"{figure} run" in listed.content.decode()
            looked_at += 1
    assert looked_at > 20


def test_list_goes_on_where_a_page_ends(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_list, "SHOWN", 2)
    monkeypatch.setattr(run_list, "READ", 3)
    at = timelines.now() - timedelta(days=2)
    for each in range(7):
        ended(at, queue="slow" if each % 3 else "default")
    timelines.count()

    for query, wanted in (("?range=week", 7), ("?range=week&by=queue&only=slow", 4)):
        url, figure = BAR_LINK.findall(shown(operator, query))[0]
        seen: list[int] = []
        while url:
            listed = operator.get(html.unescape(url))
            seen += [row["run"].event for row in listed.context["rows"]]
            older = listed.context["found"].older
            url = older and reverse("admin:jobs_runrollup_runs") + listed.context["older_url"]
        assert int(figure) == wanted
        assert seen == sorted(set(seen), reverse=True)
        assert len(seen) == wanted


def test_figures_of_one_value_are_told_apart_from_those_of_all(operator: Client) -> None:
    ended(timelines.now() - timedelta(days=2), queue="slow")
    timelines.count()

    of_nothing = shown(operator, "?range=week&by=queue&only=gone")
    assert "None of its runs ended in this time." in of_nothing and "0 runs ended" in of_nothing
    assert "By queue, in the last 7 days, all of them</h2>" in of_nothing
    of_one = shown(operator, "?range=week&by=queue&only=slow")
    assert "1 run ended" in of_one and "None of its runs" not in of_one
    assert "By queue, in the last 7 days</h2>" in shown(operator, "?range=week&by=queue")


def test_page_leads_to_the_time_when_most_failed(operator: Client) -> None:
    now = timelines.now()
    ended(now - timedelta(days=3))
    timelines.count()
    assert "Most failed for good" not in shown(operator, "?range=week")
    for days, times in ((3, 1), (2, 2), (1, 1)):
        for _ in range(times):
            ended(now - timedelta(days=days), kind=Kind.FAILED, status="failed")
    timelines.count()
    report.memory.clear()

    page = shown(operator, "?range=week")
    [(url, said)] = re.findall(r'Most failed for good: <a href="([^"]+)">([^<]+)</a>\.', page)

    assert said.startswith("2 runs from ")
    assert len(operator.get(html.unescape(url)).context["rows"]) == 2


def test_list_leads_to_the_jobs_to_act_on(operator: Client) -> None:
    at = timelines.now() - timedelta(days=2)
    for queue in ("slow", "default"):
        ended(at, kind=Kind.FAILED, queue=queue, status="failed", updated_at=at)
    timelines.count()
    figures = BAR_LINK.findall(shown(operator, "?range=week&by=queue&only=slow"))
    [url] = [html.unescape(url) for url, _ in figures if "ended=failed" in url]

    jobs = operator.get(operator.get(url).context["jobs_url"])

    assert [job.queue for job in jobs.context["cl"].result_list] == ["slow"]


def test_period_before_is_behind_each_bar(operator: Client) -> None:
    now = timelines.now()
    for _ in range(3):
        ended(now - timedelta(days=8), waited=100)
    ended(now - timedelta(days=1), waited=10)
    timelines.count()
    known_since(timedelta(days=20))

    seen = report.read(report.progress(), PERIODS["week"], "queue", None)

    assert seen.total.ended == 1
    assert seen.total_before is not None
    assert seen.total_before.ended == 3
    assert "In the period before: 3." in shown(operator, "?range=week")
    [line] = seen.lines
    assert line.before is not None
    assert line.before.ended == 3


def test_what_was_not_counted_is_a_gap_and_no_zero(operator: Client) -> None:
    now = timelines.now()
    ended(now - 10 * HOUR)
    timelines.count()
    RunRollupState.objects.update(counted_from=now - 12 * HOUR, counted_until=now - 3 * HOUR)

    seen = report.read(report.progress(), PERIODS["day"], "queue", None)
    known = [bar.now is not None for bar in seen.bars]

    assert known[:10] == [False] * 10
    assert known[-2:] == [False, False]
    assert sum(bar.now.ended for bar in seen.bars if bar.now) == 1
    assert any(bar.now is not None and bar.now.ended == 0 for bar in seen.bars)
    text = shown(operator)
    assert "The cluster has not counted since" in text
    assert "not counted" in text
    assert "The period before is not counted whole." in text


def test_bar_of_a_period_that_was_never_counted_says_so(operator: Client) -> None:
    text = shown(operator)

    assert "Nothing is counted yet." in text
    assert "not counted" in text


def test_deploys_and_switches_are_marked(operator: Client) -> None:
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy 1.4")
    operator.post(
        reverse("admin:opsconsole_pause_changelist"),
        {"name": "recovery", "decision": "resume", "reason": "done"},
    )
    timelines.count()

    text = shown(operator)

    assert "deploy 1.4" in text
    assert text.count('<g class="mark">') == 4


def test_numbers_of_marks_do_not_stand_on_each_other() -> None:
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    # In per cent of the axis; the first pause began before it.
    places = [-30, 0, 1, 50, 80, 84, 88, 99]
    marks = [Mark(begin + place * HOUR, None, "Deploy", str(place), "jobs_job") for place in places]

    lines = drawing.lines_between(marks, begin, begin + 100 * HOUR)

    assert [line.label for line in lines] == ["1–3", "", "", "4", "5–7", "", "", "8"]  # noqa: RUF001 - an en dash is meant
    assert [line.title for line in lines] == [f"Deploy: {place}" for place in places]


def test_only_those_who_may_see_switches_see_their_marks() -> None:
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy 1.4")
    person = User.objects.create_user("sees-jobs", is_staff=True)
    person.user_permissions.add(Permission.objects.get(codename="view_job"))
    client = Client()
    client.force_login(person)

    assert "deploy 1.4" not in shown(client)


def test_fifty_largest_values_are_lines(operator: Client) -> None:
    at = timelines.now() - HOUR
    for each in range(52):
        ended(at, customer_id=f"c-{each:02}")
    ended(at, customer_id="c-51")
    timelines.count()

    seen = report.read(report.progress(), PERIODS["day"], "customer", None)

    assert [line.value for line in seen.lines[:2]] == ["c-51", "c-00"]
    assert (len(seen.lines), seen.more) == (50, True)
    assert "Only the fifty with the most runs are shown." in shown(operator, "?by=customer")


def test_values_counted_together_are_said(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_counts, "MOST_VALUES", 2)
    at = timelines.now() - HOUR
    for customer in ("a", "a", "b", "c"):
        ended(at, customer_id=customer)
    timelines.count()

    assert "were counted together for a while" in shown(operator, "?by=customer")


@pytest.mark.parametrize(
    "query",
    [
        "?at=2026-11-27T10:00Z",
        "?at=2026-11-27T10:01Z&minutes=60",
        "?at=2026-11-27T10:00Z&minutes=7",
        "?at=0001-01-01T00:00%2B14:00&minutes=60",
        "?at=2026-11-27T10:00Z&minutes=60&ended=eaten",
        "?at=2026-11-27T10:00Z&minutes=60&by=weather",
        f"?at=2026-11-27T10:00Z&minutes=60&only={'x' * 1_000}",
        "?at=2026-11-27T10:00Z&minutes=99999999999999999999",
    ],
)
def test_address_of_no_bar_is_not_found(operator: Client, query: str) -> None:
    assert operator.get(reverse("admin:jobs_runrollup_runs") + query).status_code == 404


def test_jobs_that_are_gone_keep_their_runs_in_the_list(operator: Client) -> None:
    of = ended(timelines.now() - timedelta(days=2))
    timelines.count()
    url, _ = BAR_LINK.findall(shown(operator, "?range=week"))[0]
    Job.objects.filter(pk=of.pk).delete()

    listed = operator.get(html.unescape(url))

    assert len(listed.context["rows"]) == 1
    assert listed.context["rows"][0]["queue"] == "(unknown)"


def test_page_costs_the_same_however_many_values_there_are(operator: Client) -> None:
    at = timelines.now() - HOUR
    for each in range(60):
        ended(at, customer_id=f"c-{each}")
    timelines.count()

    query = {"range": "month", "by": "customer"}
    assert len(fewest_statements(operator, PAGE, query, before=report.memory.clear)) <= 12
    assert len(operator.get(PAGE, query).text) < 200_000
    assert RunRollup.objects.count() > 100


@pytest.mark.parametrize(
    "query",
    [
        "at=9999-12-31T00:00Z&minutes=1440",
        "at=9999-12-31T23:55Z&minutes=5",
        "at=0001-01-01T00:00Z&minutes=5",
        "at=0001-01-01T00:00%2B14:00&minutes=60",
        "at=2026-11-27T00:00&minutes=60",
        "at=10000-01-01T00:00Z&minutes=60",
        "at=2026-11-27T00:00Z&minutes=99999999999999999999",
        "at=2026-11-27T00:00Z&minutes=60&by=all",
        "at=2026-11-27T00:00Z&minutes=60&ended=lost&ended=x",
        "at=&minutes=",
    ],
)
def test_list_of_what_is_no_bar_is_not_found(operator: Client, query: str) -> None:
    assert operator.get(f"{PAGE}runs/?{query}").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "before=0",
        "before=999999999999999999",
        "before=-1",
        "before=x",
        "by=worker&only=",
        "by=worker&only=%2F",
    ],
)
def test_list_of_a_bar_takes_any_place_and_value(operator: Client, query: str) -> None:
    assert operator.get(f"{PAGE}runs/?at=2026-11-27T00:00Z&minutes=60&{query}").status_code == 200


def test_list_says_that_the_events_of_its_runs_were_removed(operator: Client) -> None:
    ended(timelines.now() - HOUR)
    timelines.count()
    url, _ = BAR_LINK.findall(shown(operator, "?range=day"))[0]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("DELETE FROM job_events")
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")

    assert "None of them is found any more" in operator.get(html.unescape(url)).content.decode()
