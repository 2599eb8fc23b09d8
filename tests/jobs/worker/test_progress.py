"""Tests of the progress that handlers report: bounded, fenced, sent seldom, and received by the next run."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import close_old_connections

from jobs.models import Job, RunProgress, Status
from jobs.runs.restart import restart
from jobs.worker import InvalidProgress, RunContext
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs import progress
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Run
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working.execution import carry_out
from tests import factories
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("each_way")]

ADA = Worker("ada")


def claimed(made: Job) -> RunningJob:
    job = reporting.current().claim(made.pk, None, ADA, dead_letter_id=None, asked_before=False)
    assert isinstance(job, RunningJob), job
    return job


def work(handler: Callable[[RunContext], Any], **fields: Any) -> Job:
    """Claim a job, run it with this handler, and return its stored row."""
    job = claimed(factories.job(**fields))
    carry_out(job, ADA, handler)
    close_old_connections()
    return Job.objects.get(pk=job.id)


def stored(epoch: int = 1) -> tuple[float | None, str] | None:
    row = RunProgress.objects.filter(run_epoch=epoch).first()
    return (None if row.percent is None else float(row.percent), row.text) if row else None


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float | None, str]]:
    """Return what is sent, as it is sent."""
    place, seen = type(reporting.current()), []
    real = place.progress

    def noted(self: Any, run: Run, percent: float | None, text: str) -> Verdict:
        seen.append((percent, text))
        return real(self, run, percent, text)

    monkeypatch.setattr(place, "progress", noted)
    return seen


def test_progress_is_seen_while_the_handler_works() -> None:
    seen: list[Any] = []

    def handler(run: RunContext) -> None:
        run.progress(12.5, "4 of 32 <directories>")
        wait_until(stored)
        seen.append(stored())

    assert work(handler).status == Status.COMPLETED
    assert seen == [(12.5, "4 of 32 <directories>")]


def test_tight_loop_sends_the_first_and_the_last(sent: list[Any]) -> None:
    """The interval is longer than the loop: between the two, nothing is due."""

    def handler(run: RunContext) -> None:
        run.progress(0, "step 0")
        wait_until(lambda: bool(sent))
        for step in range(1, 100_001):
            run.progress(step / 1_000, f"step {step}")

    began = time.monotonic()
    assert work(handler).status == Status.COMPLETED
    assert sent[0] == (0, "step 0") and sent[-1] == (100, "step 100000")
    assert len(sent) <= 2 + (time.monotonic() - began) / reporting.current().progress_seconds
    assert stored() == (100, "step 100000")


def test_next_run_receives_the_last_progress() -> None:
    def fails(run: RunContext) -> None:
        assert run.last_progress is None
        run.progress(10, "begun")
        run.progress(None, "waiting for the directory")
        raise ValueError("the directory answered 502")

    def says_nothing(run: RunContext) -> None:
        raise ValueError("the directory answered 503")

    job = work(fails)
    assert (job.status, job.run_epoch) == (Status.PENDING, 2)
    Job.objects.update(not_before=None)
    # A run that says nothing hands on what it received.
    carry_out(claimed(job), ADA, says_nothing)
    Job.objects.update(not_before=None)

    received = claimed(job)

    assert received.epoch == 3
    last = received.last_progress
    assert last is not None
    assert (last.percent, last.text, last.epoch) == (None, "waiting for the directory", 1)
    # JSON has milliseconds.
    assert abs(last.at - RunProgress.objects.get().at) < timedelta(milliseconds=2)


def test_run_that_was_taken_over_reports_nothing() -> None:
    run = Run(claimed(factories.job()).id, 1, ADA)
    reports = reporting.current()
    assert reports.progress(run, 40, "on the way") is Verdict.GO_ON
    assert reports.progress(Run(run.job_id, 1, Worker("bob")), 90, "not mine") is Verdict.SUPERSEDED
    restart(Job.objects.all())
    assert reports.progress(run, 95, "too late") is Verdict.SUPERSEDED
    Job.objects.update(status=Status.CANCELLED, run_epoch=1)
    assert reports.progress(run, 96, "too late") is Verdict.CANCELLED
    assert stored() == (40, "on the way")


def test_handler_learns_from_its_progress_that_the_run_is_lost() -> None:
    def handler(run: RunContext) -> None:
        Job.objects.update(status=Status.CANCELLED)
        run.progress(50)
        wait_until(lambda: run.should_stop)

    work(handler)
    assert stored() is None


@pytest.mark.parametrize("percent", [-1, 100.1, math.nan, math.inf, "40", True])
def test_no_percentage_is_refused_in_a_sentence(percent: Any) -> None:
    def handler(run: RunContext) -> None:
        with pytest.raises(InvalidProgress, match="Percent must be a number from 0 to 100, or None, not "):
            run.progress(percent)
        with pytest.raises(InvalidProgress, match="needs a text"):
            run.progress(None)
        with pytest.raises(InvalidProgress, match="must be a str"):
            run.progress(1, None)  # type: ignore[arg-type]  # a handler may be untyped

    assert work(handler).status == Status.COMPLETED
    assert stored() is None


def test_percent_is_never_rounded_up_and_text_is_bounded() -> None:
    work(lambda run: run.progress(99.99, "\x00é" * 1_000))
    assert stored() == (99.9, "é" * progress.LONGEST_TEXT)


def test_outage_delays_progress_and_never_the_result(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = type(reporting.current())
    away = reporting.current().away[0]
    tried = threading.Event()

    def fails(*_: Any) -> Verdict:
        tried.set()
        raise away("it is gone")

    monkeypatch.setattr(place, "progress", fails)

    def handler(run: RunContext) -> None:
        run.progress(40)
        assert tried.wait(30)

    with caplog.at_level(logging.WARNING):
        assert work(handler).status == Status.COMPLETED
    assert "it is gone" in caplog.text
