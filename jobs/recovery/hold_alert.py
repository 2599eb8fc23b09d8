"""The words of the alert about mass staleness: what recovery does about these runs now, not what it did when the alert fired.

Each sweep tells them anew, and so does each decision of an operator about recovery: a release, a pause, or another mode.
"""

from __future__ import annotations

from django.db import OperationalError, transaction
from psycopg.errors import QueryCanceled

from alerts import notify
from jobs.recovery import control, outlook, surroundings
from jobs.recovery.surroundings import Stop, Surroundings

PERHAPS_ALIVE = "The network or the database may be at fault, and the workers may be alive."
TO_DECIDE = "Check the workers, then release the hold or let it end automatically."
TO_CHECK = "Check the workers."


def retell() -> None:
    """Let the open alert say what happens now, without another message. Nothing happens where none is open.

    A decision stands also where the stale runs can't be counted in time: the next sweep tells it.
    """
    if not notify.open_among([control.MASS_STALENESS]):
        return
    try:
        with transaction.atomic():
            around = surroundings.read()
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return
    notify.retell(
        control.MASS_STALENESS,
        title=control.went_silent(around.mass) if around.mass else "",
        value=around.mass or None,
        summary=summary(around),
    )


def summary(around: Surroundings) -> str:
    """Say what sweeps do about the runs, and what an operator should do."""
    is_held = around.stop == Stop.HELD and around.held_until
    advice = TO_DECIDE if is_held else TO_CHECK
    return f"{outlook.of_sweeps(around).sentence} {PERHAPS_ALIVE} {advice}"
