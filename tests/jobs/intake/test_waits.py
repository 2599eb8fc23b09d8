"""Since when jobs wait: a job that was scheduled for long begins to wait when it may start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import DateTimeField, Value
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.admin.queues import queue_page
from jobs.admin.queues.queue_page import AGES
from jobs.intake import waits
from jobs.models import Job
from jobs.models import job as job_model
from opsconsole import overview
from opsconsole.kit import one_statement, pauses
from opsconsole_worker.environment import QueueConfig
from tests.factories import job
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# By how long the job waits, or None where it may not start yet: since when it is unchanged, and when it may start, both ago.
CASES: list[tuple[timedelta | None, timedelta, timedelta | None]] = [
    (10 * MINUTE, 10 * MINUTE, None),
    (2 * MINUTE, 10 * DAY, 2 * MINUTE),
    (3 * HOUR, 3 * HOUR, 5 * HOUR),
    (3 * HOUR, 3 * HOUR, 3 * HOUR),
    (None, 10 * DAY, -HOUR),
]


def waiting(unchanged: timedelta, due: timedelta | None, **fields: Any) -> Job:
    times = {"created_at": Now() - unchanged, "updated_at": Now() - unchanged}
    return job(**times, not_before=None if due is None else Now() - due, **fields)


def first(queue: str) -> datetime | None:
    return min((since for (since,) in waits.firsts(queue)), default=None)


@pytest.mark.parametrize(("waits_for", "unchanged", "due"), CASES)
def test_every_page_says_the_same(
    operator: Client, settings: Any, waits_for: timedelta | None, unchanged: timedelta, due: timedelta | None
) -> None:
    settings.QUEUES = {
        name: QueueConfig(name, f"https://sqs.fake/{name}", "") for name in ("default", "slow")
    }
    made = waiting(unchanged, due)

    oldest = overview.read().oldest_wait
    page = operator.get(reverse("admin:jobs_queuestate_change", args=["default"])).context
    counted = [figure.label for figure in page["ages"] if figure.number == "1"]
    if waits_for is None:
        assert (oldest, first("default"), page["oldest"], counted) == (None, None, None, [])
        return
    since = waits.since(Job.objects.get(pk=made.pk))
    assert first("default") == page["oldest"] == since
    assert oldest and waits_for <= oldest < waits_for + HOUR / 2
    assert counted == [next(label for most, label in AGES if most is None or waits_for < most)]


def test_longest_is_that_of_either_kind() -> None:
    waiting(2 * HOUR, None)
    waiting(10 * DAY, 3 * HOUR)
    [by_change, by_time] = (waiting(5 * HOUR, None), waiting(9 * DAY, 4 * HOUR))
    waiting(8 * DAY, None, queue="other")

    assert first("default") == Job.objects.get(pk=by_change.pk).updated_at
    Job.objects.filter(pk=by_change.pk).update(status="completed")
    assert first("default") == Job.objects.get(pk=by_time.pk).not_before


def test_page_of_a_queue_counts_and_finds_the_oldest_by_one_statement(
    operator: Client,
) -> None:
    """While jobs come and go, two statements would say "Waiting 1" beside "nothing waits"."""
    waiting(2 * HOUR, None)
    with CaptureQueriesContext(connection) as asked:
        operator.get(reverse("admin:jobs_queuestate_change", args=["default"]))
    about_waiting = [
        each["sql"] for each in asked if '"status" = ' in each["sql"] and "GREATEST" in each["sql"]
    ]
    assert len(about_waiting) == 1


def test_job_of_a_queue_that_is_not_configured_waits_on_every_page(operator: Client) -> None:
    waiting(2 * HOUR, None, queue="gone")
    overview.memory.clear()
    page = spaced(operator.get(reverse("admin:overview_live")).text)
    assert "no job waits" not in page and "<dd>2 h</dd>" in page
    page = operator.get(reverse("admin:jobs_queuestate_change", args=["gone"])).text
    assert "It was never read: what it holds is unknown." in page
    assert "The last reading failed" not in page


def oldest() -> datetime | None:
    since: datetime | None = one_statement.read(since=waits.oldest())["since"]
    return since


def test_oldest_wait_is_that_of_the_first_job_in_the_list_that_it_opens(operator: Client) -> None:
    """Whatever the queues are called, and also where the first job of a queue may not start yet, or changed by a wrong clock."""
    assert oldest() is None
    waiting(HOUR, -HOUR, queue="a")
    assert oldest() is None
    ahead = waiting(-HOUR, None, queue="a")
    assert oldest() == Job.objects.get(pk=ahead.pk).updated_at
    for hours, queue in enumerate(["default", "gone", "", "ü", "long" * 200, "long" * 200 + "er"], start=2):
        made = waiting(hours * HOUR, None, queue=queue)
        waiting(9 * HOUR, None, queue=queue, status="completed")
        [row, *_] = (
            operator.get(reverse("admin:jobs_job_changelist"), {"sort": "waited"}).context["cl"].result_list
        )
        assert row.pk == made.pk
        assert oldest() == Job.objects.get(pk=made.pk).updated_at


def test_list_says_for_how_long_a_job_waits_that_may_start(operator: Client) -> None:
    waiting(10 * DAY, 2 * HOUR + HOUR / 2)
    listed = spaced(operator.get(reverse("admin:jobs_job_changelist"), {"sort": "waited"}).text)
    assert ">2 h 30 min<" in listed or ">2 h 31 min<" in listed


AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
# Since when a job is unchanged, when it may start, and whether it waits for a worker at ``AT``.
AT_CASES: dict[str, tuple[timedelta, timedelta | None, bool]] = {
    "unscheduled": (-HOUR, None, True),
    "unscheduled, changed now": (timedelta(0), None, True),
    "unscheduled, changed by a clock that is ahead": (HOUR, None, True),
    "may start now": (-HOUR, timedelta(0), True),
    "may start in a moment": (-HOUR, timedelta(microseconds=1), False),
    "may start since a moment ago": (-HOUR, -timedelta(microseconds=1), True),
    "scheduled by a clock that is ahead": (HOUR, 2 * HOUR, False),
    "due, changed by a clock that is ahead": (HOUR, -HOUR, True),
    "due before it was changed": (-HOUR, -2 * HOUR, True),
    "a retry whose pause is over": (-HOUR, -HOUR / 2, True),
    "a retry whose pause goes on": (-HOUR, HOUR / 2, False),
}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the questions be asked at ``AT``, which is neither before nor after a time in the rows by chance."""
    for module in (job_model, waits):
        monkeypatch.setattr(module, "Now", lambda: Value(AT, DateTimeField()))


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize(("unchanged", "due", "waits_then"), AT_CASES.values(), ids=AT_CASES)
def test_a_job_is_either_waiting_or_scheduled_for_everybody_who_asks(
    unchanged: timedelta, due: timedelta | None, *, waits_then: bool
) -> None:
    made = job(updated_at=AT + unchanged, not_before=None if due is None else AT + due, priority_level="rush")
    jobs = Job.objects.filter(queue="default")

    assert made.is_scheduled(AT) is not waits_then
    assert jobs.startable().exists() is waits_then
    assert jobs.scheduled().exists() is not waits_then
    assert list(waits.by_index(jobs)) == ([{"pk": made.pk}] if waits_then else [])
    assert first("default") == (waits.since(made) if waits_then else None)
    ages = [most for number, (most, _) in enumerate(AGES) if queue_page._aged(jobs, number).exists()]
    waited = AT - waits.since(made)
    assert ages == ([next(most for most, _ in AGES if most is None or waited < most)] if waits_then else [])
    assert not waits.by_index(Job.objects.filter(queue="other")).exists()


def test_lists_have_as_many_jobs_as_their_figures(operator: Client, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/default", "")}
    for number, (_, unchanged, due) in enumerate(CASES):
        waiting(unchanged, due, priority_level=("rush", "starter")[number % 2])
    waiting(-2 * MINUTE, None)
    waiting(HOUR, -DAY)
    pauses.begin(pauses.of_queue("default"), by="ada", reason="deploy")
    page = operator.get(reverse("admin:jobs_queuestate_change", args=["default"])).context

    figures = {figure.label: figure for figure in page["depth"]}
    assert (figures["Waiting"].number, figures["Scheduled"].number) == ("5", "2")
    for figure in figures.values():
        assert str(operator.get(figure.url).context["cl"].result_count) == figure.number, figure.label
    seen = overview.read()
    assert (seen.waiting, seen.scheduled) == (5, 2)
    assert sum(int(figure.number) for figure in page["ages"]) == 5
