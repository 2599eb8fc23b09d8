"""Tests of the attempts at a job: how long each run waited and ran, and its place on the axis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.models import Job, JobEvent, Status
from jobs.runs import attempts
from jobs.runs.attempts import Attempt
from tests import people
from tests.factories import run
from tests.page_text import spaced

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def event(kind: str, epoch: int, minutes: float, actor: str = "sweep", **details: Any) -> JobEvent:
    return JobEvent(kind=kind, run_epoch=epoch, at=at(minutes), actor=actor, details=details)


STORY = [
    event("enqueued", 1, 0),
    event("claimed", 1, 2, "worker:a"),
    event("progress", 1, 3, "worker:a"),
    event("recovered", 1, 20, epoch_now=2),
    event("claimed", 2, 21, "worker:b"),
    event("retry_scheduled", 2, 25, "worker:b", next_epoch=3),
    event("claimed", 3, 30, "worker:c"),
    event("failed", 3, 32, "worker:c"),
    event("requeued", 4, 40, "operator:olga", from_epoch=3),
]


def row(**fields: Any) -> Job:
    known = {"run_epoch": 4, "status": Status.PENDING, "created_at": at(0), "updated_at": at(40)}
    return Job(**known | fields)


@pytest.mark.parametrize("epoch", [[3], {"run": 3}, "3", None, True])
def test_run_that_an_event_names_in_another_way_is_not_looked_for(epoch: object) -> None:
    story = [*STORY[:-1], event("requeued", 4, 40, "operator:olga", from_epoch=epoch)]
    runs = attempts.of_events(story, created_at=at(0))
    assert sorted(runs) == [1, 2, 3, 4]
    assert runs[4].waits_since == at(40)


def test_story_of_four_runs() -> None:
    runs = attempts.of_job(row(), STORY)

    now = at(50)
    assert [(each.run, each.ended_as, each.worker) for each in runs] == [
        (4, "", ""),
        (3, "failed", "c"),
        (2, "retry_scheduled", "b"),
        (1, "recovered", "a"),
    ]
    minutes = [
        tuple(time and time / timedelta(minutes=1) for time in (each.waited(now), each.ran(now)))
        for each in runs
    ]
    assert minutes == [(10, None), (5, 2), (1, 4), (2, 18)]
    assert runs[3].marks == (at(3),)


def test_run_that_a_later_one_followed_neither_waits_nor_runs_on() -> None:
    ended = row(run_epoch=2, status=Status.FAILED, started_at=at(30), completed_at=at(31))
    waited = [event("enqueued", 1, 0), event("claimed", 2, 30), event("failed", 2, 31)]
    began = [event("enqueued", 1, 0), event("claimed", 1, 10), *waited[1:]]

    for story, known_wait in ((waited, None), (began, timedelta(minutes=10))):
        later, first = attempts.of_job(ended, story)
        assert (first.waited(at(500)), first.ran(at(500))) == (known_wait, None)
        assert later.ran(at(500)) == timedelta(minutes=1)
        of_later, of_first = attempts.bars([later, first], at(500))
        assert (of_first.waits_at, of_first.runs_for) == (0, 0)
        assert of_later.runs_at + of_later.runs_for == pytest.approx(100)


def test_run_whose_beginning_nobody_saw_is_not_said_to_have_waited_until_its_end() -> None:
    """Workers that write no events begin runs, too."""
    story = [event("enqueued", 1, 0), event("recovered", 1, 20), event("retry_scheduled", 2, 30)]
    for each in attempts.of_job(row(run_epoch=3), story)[1:]:
        assert (each.waited(at(50)), each.ran(at(50)), each.never_began) == (None, None, False)

    story = [event("enqueued", 1, 0), event("cancelled", 1, 8)]
    cancelled = attempts.of_job(row(run_epoch=1, status=Status.CANCELLED), story)[-1]
    requeued = attempts.of_job(row(run_epoch=2), [*story, event("requeued", 2, 9, from_epoch=1)])[-1]
    for each in (cancelled, requeued):
        assert (each.waited(at(50)), each.never_began) == (timedelta(minutes=8), True)


def test_bars_share_one_axis() -> None:
    runs = attempts.of_job(row(), STORY)
    assert attempts.axis_of(runs, at(50)) == (at(0), at(50))
    bars = attempts.bars(runs, at(50))
    first, last = bars[-1], bars[0]
    assert (first.waits_at, first.waits_for, first.runs_at, first.runs_for) == (0, 4, 4, 36)
    assert first.marks == [6]
    assert (last.waits_at, last.waits_for, last.runs_for) == (80, 20, 0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # A worker that writes no events: only the row tells.
        (
            {
                "run_epoch": 1,
                "status": "completed",
                "started_at": at(5),
                "completed_at": at(9),
                "worker_id": "old",
            },
            Attempt(1, at(0), at(5), at(9), "completed", "old"),
        ),
        (
            {"run_epoch": 1, "status": "in_progress", "started_at": at(5)},
            Attempt(1, at(0), at(5)),
        ),
        ({"run_epoch": 1, "status": "pending"}, Attempt(1, at(0))),
        ({"run_epoch": 3, "status": "pending"}, Attempt(3)),
        ({"run_epoch": 1, "status": "theirs"}, Attempt(1, at(0), None, at(40), "theirs")),
    ],
)
def test_row_alone(fields: dict[str, Any], expected: Attempt) -> None:
    assert attempts.of_job(row(**fields), []) == [expected]


def test_job_without_a_known_beginning_has_a_bar() -> None:
    [bar] = attempts.bars([Attempt(3)], at(1))
    assert (bar.waits_for, bar.runs_for) == (0, 0)


def test_times_that_contradict_each_other_stay_on_the_axis() -> None:
    """Clocks of workers may be wrong."""
    runs = [Attempt(1, at(5), at(3), at(1), "completed")]
    assert (runs[0].waited(at(9)), runs[0].ran(at(9))) == (timedelta(0), timedelta(0))
    [bar] = attempts.bars(runs, at(9))
    assert all(0 <= part <= 100 for part in (bar.waits_at, bar.runs_at, bar.waits_for, bar.runs_for))


@pytest.mark.django_db
def test_page_shows_the_runs_with_exact_times(client: Client) -> None:
    made = run(age=timedelta(minutes=9), silent=timedelta(0))
    JobEvent.objects.create(
        job=made, kind="claimed", run_epoch=1, actor="worker:worker-1", at=Now() - timedelta(minutes=9)
    )
    claimed = JobEvent.objects.get().at
    client.force_login(people.operator())
    page = client.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    runs = page[page.index('id="runs"') : page.index('id="timeline"')]
    assert f"{claimed:%Y-%m-%d %H:%M:%S} UTC</time>" in runs
    assert "9 min" in spaced(runs) and "worker-1" in runs and "In progress" in runs
