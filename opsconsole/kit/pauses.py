"""Pauses of recovery (during a deploy), of the checks of dead letters, or of the workers of a queue.

The paused work calls ``active`` before each turn. A pause has a reason and optionally an end, at which the work
resumes automatically.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from opsconsole.kit import activity, reasons
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.display import clock_time
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.models import Pause
from opsconsole.kit.row_locks import locked

RECOVERY = "recovery"
DEAD_LETTER_CHECKS = "dead letter checks"
QUEUE = "queue:"
BY_THE_CLOCK = "automatically"
LONGEST = timedelta(days=7)
LONGEST_MINUTES = LONGEST // timedelta(minutes=1)


class PauseRefused(OpsConsoleError):
    """A pause can't be started or ended; the message says what is missing."""


class WouldEndEarlier(PauseRefused):
    """The pause in force lasts longer than the one that was asked for; entry points add how to shorten it on purpose."""

    def __init__(self, held: Pause) -> None:
        lasts = f"until {clock_time(held.until)}" if held.until else "until somebody resumes it"
        super().__init__(
            f"The pause in force, by {held.began_by}, lasts {lasts}; this one would end earlier."
        )
        self.held = held


def of_queue(name: str) -> str:
    return f"{QUEUE}{name}"


def active(name: str) -> Pause | None:
    """Return the pause of ``name`` that is in force."""
    return in_force(name).first()


def in_force(name: str) -> QuerySet[Pause]:
    """Return the pause of ``name`` that is in force: one row, or none."""
    return Pause.objects.active().filter(name=name)


def take_turns() -> None:
    """Let decisions about pauses wait for each other until their transactions end: before the first pause there is no row to lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [AdvisoryLock.PAUSES])


def begin(
    name: str, *, by: str, reason: str, lasting: timedelta | None = None, shorten: bool = False
) -> Pause:
    """Pause ``name`` for this long, or until somebody resumes it. A pause in force is replaced.

    ``shorten``: also where that ends earlier than the pause in force, which raises ``WouldEndEarlier`` otherwise: it may be
    somebody else's deploy. Raise ``PauseRefused`` without a reason, and when somebody else started a pause at the same moment.
    """
    reason = reasons.required(reason, PauseRefused)
    if lasting is not None and not timedelta(0) < lasting <= LONGEST:
        raise PauseRefused(f"A pause lasts at least a minute and at most {LONGEST.days} days, or has no end.")
    with transaction.atomic():
        take_turns()
        _replace(name, by=by, lasting=None if shorten else lasting)
        until = None if lasting is None else Now() + lasting
        begun = Pause(name=name, began_by=by, reason=reason, until=until)
        Pause.objects.bulk_create([begun], ignore_conflicts=True)
        mine = Pause.objects.filter(name=name, ended_at=None, began_by=by, reason=reason).first()
        if mine is None:
            raise PauseRefused("Somebody else paused it at the same moment. Nothing was changed. Look again.")
        activity.done("switch changed", switch=name, to="paused", until=mine.until, actor=by)
        return mine


def end(name: str, *, by: str, reason: str) -> Pause | None:
    """Resume ``name``. Return None when nothing was paused. Raise ``PauseRefused`` without a reason."""
    reason = reasons.required(reason, PauseRefused)
    with transaction.atomic():
        held = locked(Pause.objects.active().filter(name=name)).first()
        if held is None or not _end(name, by=by, reason=reason):
            return None
        activity.done("switch changed", switch=name, to="resumed", actor=by)
        return held


def _replace(name: str, *, by: str, lasting: timedelta | None) -> None:
    """Close the open row for a pause of this length, with the comparison in the write itself.

    ``lasting`` None: any pause. Raise ``WouldEndEarlier`` if the open one lasts longer.
    """
    _end(name, by=by, reason="Replaced by another pause.", lasting_at_most=lasting)
    longer = Pause.objects.filter(name=name, ended_at=None).first()
    if longer is not None:
        raise WouldEndEarlier(longer)


def _end(name: str, *, by: str, reason: str, lasting_at_most: timedelta | None = None) -> int:
    """Close the open row; a pause whose time was over ended automatically at that time."""
    open_rows = Pause.objects.filter(name=name, ended_at=None)
    open_rows.filter(until__lte=Now()).update(ended_at=F("until"), ended_by=BY_THE_CLOCK)
    if lasting_at_most is not None:
        open_rows = open_rows.filter(until__lte=Now() + lasting_at_most)
    return open_rows.update(ended_at=Now(), ended_by=by, end_reason=reason)
