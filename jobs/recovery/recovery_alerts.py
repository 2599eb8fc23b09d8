"""The words of the alerts about mass staleness and stale jobs: what recovery does now, not what it did when the alert fired.

Each sweep tells them anew, and so does each decision of an operator about recovery: a release, a pause, or another mode.
"""

from __future__ import annotations

from datetime import UTC

from django.db import OperationalError, transaction
from psycopg.errors import QueryCanceled

from alerts import notify
from alerts.notify import Fact
from jobs.recovery import control, outlook, surroundings
from jobs.recovery.surroundings import Stop, Surroundings

STALE_JOBS = "stale_jobs_day"
TO_CHECK = "Check the workers."


def retell() -> None:
    """Let the open alerts say what happens now, without another message. Nothing happens where none is open.

    A decision stands also where the stale runs can't be counted in time: the next sweep tells it.
    """
    open_rules = notify.open_among([control.MASS_STALENESS, STALE_JOBS])
    if not open_rules:
        return
    try:
        with transaction.atomic():
            around = surroundings.read()
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return
    if control.MASS_STALENESS in open_rules:
        notify.retell(
            control.MASS_STALENESS,
            title=control.went_silent(around.mass) if around.mass else "",
            value=around.mass or None,
            summary=summary(around),
        )
    if STALE_JOBS in open_rules:
        notify.retell(STALE_JOBS, facts=[prospect(around)])


def summary(around: Surroundings) -> str:
    """Say what sweeps do about the runs, and what an operator should do."""
    is_held = around.stop == Stop.HELD and around.held_until
    advice = control.TO_DECIDE if is_held else TO_CHECK
    return f"{outlook.of_sweeps(around).sentence} {control.PERHAPS_ALIVE} {advice}"


def prospect(around: Surroundings) -> Fact:
    """Say what sweeps do about the stale runs, and when that was so: nobody retells a message, or an alert that was resolved."""
    return (
        "Recovery",
        f"As of {around.read_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {outlook.of_sweeps(around).sentence}",
    )
