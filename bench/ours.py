"""The console as a candidate: a sweep, then the dispatch of the outbox; mass staleness is released first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import psycopg
from django.core.management import call_command
from django.db import connection

from bench import plain
from bench.shape import Shape
from bench.stub_sqs import StubSqs
from jobs.messaging.dispatcher import dispatch
from jobs.models import JobEvent, Outbox, Sweep
from jobs.recovery import control, sweeps
from jobs.recovery.batches import recover_all
from jobs.runs.timeline import Actor

OPERATOR = Actor.operator("bench", None)


def build(url: str, shape: Shape) -> None:
    """Run all migrations and add the baseline's rows, claimed by workers that use epochs."""
    use(url)
    call_command("migrate", verbosity=0)
    connection.close()
    fill(url, shape)


def fill(url: str, shape: Shape, of_ids: Callable[[str], str] = str) -> None:
    """Add the rows. ``of_ids`` makes the statements fit other ids of jobs than uuids."""
    claimed = ", 1, 1, CASE WHEN running THEN 'worker-' || n END"
    jobs = plain.jobs_of(shape, ", run_epoch, claimed_epoch, worker_id", claimed)
    beats = plain.heartbeats_of(shape, ", current_run_epoch, metadata", ", 1, '{\"protocol\": 1}'")
    with psycopg.connect(url) as direct:
        for statement in (jobs, beats):
            direct.execute(of_ids(statement))


def use(url: str) -> None:
    """Point Django at this database of the same server."""
    connection.close()
    connection.settings_dict["NAME"] = urlsplit(url).path.strip("/")


class Timed:
    """A function, and the total time of its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *given: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.function(*given)
        finally:
            self.seconds += time.perf_counter() - began


class Statements:
    """Adds up the time of all statements and keeps the statement that locks a page."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.page: tuple[str, Any] | None = None

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, *how: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, *how)
        finally:
            self.seconds += time.perf_counter() - began
            if "SKIP LOCKED" in sql and self.page is None:
                self.page = sql, params


def recover(url: str, stub: StubSqs, shape: Shape) -> tuple[dict[str, float], tuple[str, Any]]:
    """Recover all stale runs; return the seconds of each part and the statement that locks a page."""
    use(url)
    release_mass_staleness()
    sweeping, sending, pages = Statements(), Statements(), Timed(recover_all)
    began = time.perf_counter()
    with connection.execute_wrapper(sweeping), mock.patch.object(sweeps, "recover_all", pages):
        swept = sweeps.sweep("bench")
    swept_at = time.perf_counter()
    with connection.execute_wrapper(sending):
        sent = dispatch(limit=shape.stale)
    ended = time.perf_counter()
    check(swept, sent.sent, shape)
    connection.close()
    assert sweeping.page
    return {
        "pages": pages.seconds,
        "sweep": swept_at - began,
        "lease and settle": sending.seconds,
        "send": ended - swept_at,
        "total": ended - began,
    }, sweeping.page


def release_mass_staleness() -> None:
    held = sweeps.sweep("bench")
    assert held.mode == Sweep.Mode.HELD, held.mode
    assert control.release_hold(OPERATOR, "The measurement begins.")


def check(swept: Sweep, sent: int, shape: Shape) -> None:
    """Check that all stale runs were requeued once, recorded and sent, and that live ones were left alone."""
    told = JobEvent.objects.filter(kind=JobEvent.Kind.RECOVERED).count()
    posted = Outbox.objects.filter(state=Outbox.State.SENT).count()
    found = (swept.requeued, swept.errors, sent, told, posted)
    assert found == (shape.stale, 0, shape.stale, shape.stale, shape.stale), found
