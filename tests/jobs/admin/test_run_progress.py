"""Tests of progress on pages: the bar of a job with its figure, text and age, and the percentages of a list in one statement."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs.models import Job, RunProgress, Status
from tests import factories
from tests.page_text import spaced

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_job_changelist")


def progress(of: Job, percent: float | None, text: str = "", *, run: int = 1, ago: int = 0) -> None:
    at = Now() - timedelta(seconds=ago)
    RunProgress.objects.create(job_id=of.pk, run_epoch=run, percent=percent, text=text, at=at)


def panel(client: Client, of: Job) -> str:
    page = client.get(reverse("admin:jobs_job_change", args=[of.pk])).content.decode()
    return page.partition('id="progress"')[2].partition("</section>")[0]


def test_running_job_shows_bar_figure_text_and_age(operator: Client) -> None:
    made = factories.run()
    progress(made, 40.5, "12 of 30 <b>directories</b>", ago=7 * 86_400)

    shown = panel(operator, made)

    assert (
        '<progress value="40.5" max="100" aria-label="40.5 %"></progress> <span class="percent">40.5 %</span>'
        in shown
    )
    assert "12 of 30 &lt;b&gt;directories&lt;/b&gt;" in shown
    assert "Run 1 reported this" in shown and "7 d ago" in spaced(shown) and " UTC" in shown


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.QUARANTINED])
def test_run_that_ended_shows_its_last_progress(operator: Client, status: str) -> None:
    made = factories.job(status=status)
    progress(made, 90)

    assert "The last report of run 1," in panel(operator, made) and "90 %" in panel(operator, made)


def test_run_before_is_shown_beneath_the_current_one(operator: Client) -> None:
    made = factories.run(epoch=3)
    progress(made, 20, "long ago")
    progress(made, None, "waiting for maps", run=2)
    assert "Run 3 has reported no progress yet." in panel(operator, made)
    progress(made, 10, "begun anew", run=3)

    shown = panel(operator, made)

    assert shown.index("10 %") < shown.index("begun anew") < shown.index("Run 2 was at an unknown percentage")
    assert "waiting for maps" in shown and "long ago" not in shown and "The next run" not in shown


def test_waiting_job_says_what_its_next_run_receives(operator: Client) -> None:
    made = factories.job(run_epoch=2)
    progress(made, 20, "6 of 30")

    assert "Run 1 was at" in panel(operator, made) and "The next run receives this." in panel(operator, made)


def test_job_without_progress_has_no_panel(operator: Client) -> None:
    assert panel(operator, factories.run()) == ""


def test_list_shows_percent_of_running_jobs_in_one_statement(operator: Client) -> None:
    running = [factories.run(worker=f"w-{number}") for number in range(10)]
    for number, each in enumerate(running):
        progress(each, number)
    progress(factories.run(worker="other", epoch=2), 55)
    progress(factories.job(status=Status.COMPLETED), 100)

    with CaptureQueriesContext(connection) as asked:
        page = operator.get(LIST).content.decode()

    assert page.count("<progress") == 10 and ">9 %<" in page
    assert len([each for each in asked if '"run_progress"' in each["sql"]]) == 1
