"""Tests that each figure of the overview opens a list of as many rows."""

from __future__ import annotations

import pickle
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts import notify
from alerts.models import Alert
from alerts.notify import Trouble
from jobs.models import Job, JobEvent, Outbox, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.runs.timeline import SWEEP, Actor
from jobs.watch import run_gauges
from opsconsole import overview
from opsconsole.overview import current_figures, slow_rows
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, beat, dead_letter, dead_letter_queue, job, letter, run

pytestmark = pytest.mark.django_db
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DLQ = "https://sqs.fake/dead"
TILE = re.compile(r'<dt><a href="([^"]+)">([^<]+)</a>.*?<dd>(.*?)</dd>', re.DOTALL)
# They show a time, not a count.
TIMES = {"Oldest wait", "Next letter expires in", "Last sweep"}


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", DLQ)}
    overview.memory.clear()


def lost(of: Job, kind: str = "recovered", ago: timedelta = HOUR) -> None:
    JobEvent.objects.create(job_id=of.pk, kind=kind, run_epoch=1, actor=SWEEP.name, at=Now() - ago)


def scene() -> None:
    """Create rows of every kind that the overview counts, and some beside each that do not count."""
    run(age=2 * HOUR, silent=HOUR, worker="dead")
    run(age=2 * HOUR, silent=SECOND, worker="hung")
    run(age=60 * SECOND, silent=SECOND, worker="fine")
    beat("quiet", ago=timedelta(minutes=2))
    lost(job())
    # A job whose worker died twice is one job.
    twice = job()
    lost(twice)
    lost(twice)
    lost(job(status=Status.QUARANTINED), "quarantined")
    lost(job(), ago=25 * HOUR)
    by_hand = run(age=2 * HOUR, silent=HOUR, worker="dead-too")
    job_operations.carry_out(
        job_operations.plan(JobAction.REQUEUE, [by_hand.pk]), Actor.operator("olga", None), "It is late."
    )
    cancelled = run(age=60 * SECOND, silent=SECOND, worker="alive")
    job_operations.carry_out(
        job_operations.plan(JobAction.CANCEL, [cancelled.pk]), Actor.operator("olga", None), "Not wanted."
    )
    for number in range(3):
        job(not_before=Now() + (400 + number) * DAY)
    job(not_before=Now() - HOUR)
    job(status=Status.FAILED)
    job(status=Status.FAILED, updated_at=Now() - 25 * HOUR)
    letter(job(), due=HOUR)
    letter(job(), due=SECOND)
    letter(job(), due=-HOUR)
    queue = dead_letter_queue(url=DLQ, visible=2, in_flight=0, delayed=0, read_at=Now())
    for state in ("in_queue", "in_queue", "replaying", "outcome_unknown", "kept", "replayed"):
        dead_letter(dlq=queue, state=state)
    for fingerprint in ("one", "two", "three"):
        notify.fire(fingerprint, Trouble(title=f"Problem {fingerprint}", severity="warning"))
    Alert.objects.filter(fingerprint="two").update(state="acknowledged")


def tiles(client: Client) -> dict[str, tuple[str, str]]:
    page = client.get(reverse("admin:overview_live")).content.decode()
    return {
        label.replace("\xa0", " "): (address.replace("&amp;", "&"), re.sub(r"<[^>]*>", "", figure).strip())
        for address, label, figure in TILE.findall(page)
    }


def test_figures_that_are_nothing_are_quiet(client: Client) -> None:
    job(status=Status.QUARANTINED)
    client.force_login(people.operator())

    page = client.get(reverse("admin:overview_live")).content.decode()
    quiet = re.findall(r'<div class="zero"[^>]*><dt><a href="[^"]+">([^<]+)</a>', page)

    assert {"Stale now", "Past deadline", "Scheduled"} <= set(quiet) and "Quarantined" not in quiet


def test_each_tile_opens_a_list_of_as_many_rows(client: Client) -> None:
    scene()
    client.force_login(people.operator())
    counted = {label: tile for label, tile in tiles(client).items() if label not in TIMES}
    assert len(counted) > 15

    # No list has as many rows as were done in a day: the figure leads to its chart, whose bars open lists.
    to_charts = {label for label, (address, _) in counted.items() if address.startswith("#")}
    assert to_charts == {"Runs done in 24 h"}
    charts = client.get(reverse("admin:index")).content.decode()
    assert all(f'id="{counted[label][0][1:]}"' in charts for label in to_charts)

    lists = {
        label: client.get(address).context["cl"].result_count
        for label, (address, _) in counted.items()
        if label not in to_charts and label != "Refused in 1 h"
    }

    shown = {label: int(figure) for label, (_, figure) in counted.items() if label in lists}
    assert shown == lists
    assert (shown["Stale in 24 h"], shown["Jobs recovered in 24 h"], shown["Scheduled"]) == (5, 2, 3)


def test_dead_letters_are_one_number_on_the_overview(client: Client) -> None:
    scene()
    client.force_login(people.operator())
    page = client.get(reverse("admin:index")).content.decode()
    navigation = re.search(r"Dead letters.*?>(\d+)<", page, re.DOTALL)
    assert navigation
    assert tiles(client)["Dead letters"][1] == navigation[1] == "5"
    assert "SQS counts 2" in page


def test_requeued_stale_run_still_counts_as_lost() -> None:
    stale = run(age=2 * HOUR, silent=HOUR)
    before = run_gauges.stale_jobs_day().value
    steps = job_operations.plan(JobAction.REQUEUE, [stale.pk])
    job_operations.carry_out(steps, Actor.operator("olga", None), "It is late.")

    assert before == run_gauges.stale_jobs_day().value == 1
    assert ("Requeued or cancelled by hand", "1") in run_gauges.stale_jobs_day().words.facts


def test_job_for_later_is_scheduled_everywhere(client: Client) -> None:
    later = job(not_before=Now() + 400 * DAY)
    client.force_login(people.operator())
    for address in (
        reverse("admin:jobs_job_changelist"),
        reverse("admin:jobs_job_change", args=[later.pk]),
    ):
        page = client.get(address).content.decode()
        assert '<span class="badge badge-quiet">Scheduled</span>' in page
        assert '<span class="badge badge-waiting">Waiting</span>' not in page


def test_running_hour_is_in_the_charts() -> None:
    lost(job(), ago=timedelta(0))

    chart = overview.history().charts[1].chart

    assert chart.rows[-1][1] == "1"
    assert current_figures.read().recovered == 1


def test_charts_tell_of_the_same_events_as_the_figures_of_a_day() -> None:
    def told() -> tuple[int | None, str]:
        return overview.read().recovered, overview.history().charts[1].chart.rows[-1][1]

    overview.history()
    lost(job(), ago=timedelta(0))
    assert told() == (0, "0"), "both were read before it"
    # As after twenty seconds, and with the charts that were made of the earlier rows.
    overview.memory.delete_many([slow_rows.KEY, "overview"])
    assert told() == (1, "1")


def test_unread_dead_letters_are_told_beside_those_that_the_list_shows(client: Client) -> None:
    dead_letter_queue(url=DLQ, visible=58, in_flight=0, delayed=0, read_at=Now())
    client.force_login(people.operator())
    page = client.get(reverse("admin:overview_live")).content.decode()
    assert tiles(client)["Dead letters"][1] == "0"
    assert "SQS counts 58" in page
    assert Outbox.objects.count() == 0


def test_requests_leave_what_the_overview_keeps_as_it_was(client: Client) -> None:
    """All requests get the same objects."""
    scene()
    client.force_login(people.operator())
    client.get(reverse("admin:index"))
    names = ("overview", slow_rows.KEY, "history", "courses")
    kept = [each for each in map(overview.memory.get, names) if each is not None]
    before = [pickle.dumps(each) for each in kept]
    for person in (people.viewer(), User.objects.create_superuser("root")):
        client.force_login(person)
        assert client.get(reverse("admin:index")).status_code == 200
    assert slow_rows.SlowRows in map(type, kept)
    assert [pickle.dumps(each) for each in kept] == before
