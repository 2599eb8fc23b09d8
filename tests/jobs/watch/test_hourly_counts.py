"""Tests of hourly counts: counts from the timeline, highest readings, and unknown hours."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from django.db.models import Max, Sum
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models import JobEvent
from jobs.watch import hourly_counts
from opsconsole.kit import figures
from opsconsole.kit.models import HourlyFigure
from opsconsole.kit.removals import kept
from tests.factories import job
from tests.racing import race

HOUR = timedelta(hours=1)


def event(kind: str, ago: timedelta = timedelta(0)) -> None:
    JobEvent.objects.create(job=job(), kind=kind, actor="test", at=Now() - ago)


@pytest.mark.django_db
def test_recount_of_an_hour_replaces_its_count() -> None:
    event("completed")
    event("completed")
    event("failed")
    event("claimed")

    hourly_counts.count()
    event("completed")
    hourly_counts.count()

    # The hour may end between two events: each is counted in its own. Readings are the highest ones.
    kept = {
        name: (total, highest)
        for name, total, highest in HourlyFigure.objects.values_list("name").annotate(
            Sum("value"), Max("value")
        )
    }
    assert {
        name: total for name, (total, _) in kept.items() if name.startswith("jobs") and name != "jobs waiting"
    } == {
        "jobs arrived": 5.0,
        "jobs completed": 3.0,
        "jobs failed": 1.0,
    }
    assert (kept["jobs waiting"][1], kept["runs running"][1]) == (5.0, 0.0)


@pytest.mark.django_db
def test_older_hours_are_not_recounted() -> None:
    event("completed", 5 * HOUR)

    hourly_counts.count()

    assert not HourlyFigure.objects.filter(name="jobs completed").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("stored", "read"), [(hourly_counts.FEW, True), (hourly_counts.FEW + 1, False)])
def test_pages_read_no_event_and_no_job_of_an_hour_that_has_many(stored: int, read: bool) -> None:
    """A thousand jobs a second are millions an hour, which pages would count every few seconds."""
    event("completed")
    names = ("jobs completed", "jobs arrived")
    figures.set_counts((name, hour, stored) for name in names for hour in figures.hours_to_now(2))

    for rows in (hourly_counts.ended(if_few=True), hourly_counts.arrived(if_few=True)):
        assert rows.exists() is read
        assert ("never executed" in rows.explain(analyze=True)) is not read
    assert sum(number for *_, number in hourly_counts.ended()) == 1, "what is stored is counted always"


@pytest.mark.django_db
def test_day_has_24_hours_and_unknown_is_not_zero() -> None:
    figures.raise_to("dead letters", 3)
    figures.raise_to("dead letters", 2)

    hours, values = figures.last_day(["dead letters"])

    assert len(hours) == figures.HOURS
    readings = dict(HourlyFigure.objects.values_list("hour", "value"))
    assert max(readings.values()) == 3
    assert values["dead letters"] == [readings.get(hour) for hour in hours]
    assert None in values["dead letters"]


@pytest.mark.django_db(transaction=True)
def test_highest_of_several_readings_is_kept() -> None:
    race([partial(figures.raise_to, "dead letters", value) for value in (3, 9, 5, 1)])

    # The hour may end between two of them.
    assert max(HourlyFigure.objects.values_list("value", flat=True)) == 9


@pytest.mark.django_db
def test_old_counts_are_deleted() -> None:
    old = timezone.now() - kept("FIGURES") - HOUR
    figures.set_counts([("jobs failed", old, 1), ("jobs failed", timezone.now(), 1)])

    assert figures.prune() == 1
