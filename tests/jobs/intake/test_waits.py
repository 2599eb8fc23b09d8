"""Since when jobs wait: a job that was scheduled for long begins to wait when it may start."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.admin.queues.queue_page import AGES
from jobs.intake import waits
from jobs.models import Job
from opsconsole import overview
from opsconsole_worker.environment import QueueConfig
from tests.factories import job

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
        assert (oldest, waits.first("default"), page["oldest"], counted) == (None, None, None, [])
        return
    since = waits.since(Job.objects.get(pk=made.pk))
    assert waits.first("default") == page["oldest"] == since
    assert oldest and waits_for <= oldest < waits_for + HOUR / 2
    assert counted == [next(label for most, label in AGES if most is None or waits_for < most)]


def test_longest_is_that_of_either_kind() -> None:
    waiting(2 * HOUR, None)
    waiting(10 * DAY, 3 * HOUR)
    [by_change, by_time] = (waiting(5 * HOUR, None), waiting(9 * DAY, 4 * HOUR))
    waiting(8 * DAY, None, queue="other")

    assert waits.first("default") == Job.objects.get(pk=by_change.pk).updated_at
    Job.objects.filter(pk=by_change.pk).update(status="completed")
    assert waits.first("default") == Job.objects.get(pk=by_time.pk).not_before


def test_list_says_for_how_long_a_job_waits_that_may_start(operator: Client) -> None:
    waiting(10 * DAY, 2 * HOUR + HOUR / 2)
    listed = operator.get(reverse("admin:jobs_job_changelist"), {"sort": "waited"}).text
    assert ">2 h 30 min<" in listed or ">2 h 31 min<" in listed
