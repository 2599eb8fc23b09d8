"""The control of recovery: armed or observing, held by mass staleness, excused by an outage (I6)."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from alerts import notify
from alerts.notify import Trouble
from jobs.models import Job, RecoveryControl
from jobs.models.worker import stale_after
from jobs.recovery.decision import Policy
from jobs.runs.timeline import Actor
from opsconsole.kit import activity, addresses, intervals, reasons, single_rows
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.lateness import INTERVALS
from opsconsole.kit.row_locks import locked

MASS_STALENESS = "mass-staleness"
LONGEST_RULE = timedelta(days=90)
# How far ahead of the database's clock a cutoff may be that somebody took from their own.
AHEAD = timedelta(minutes=1)
PERHAPS_ALIVE = "The network or the database may be at fault, and the workers may be alive."
TO_DECIDE = "Check the workers, then release the hold or let it end automatically."


class ControlRefused(OpsConsoleError):
    """The control can't be changed; the message says what is missing."""


def locked_state() -> RecoveryControl:
    """Return the state, locked until the transaction ends."""
    return single_rows.only(RecoveryControl, locked(RecoveryControl.objects.filter(pk=1)))


def arm(actor: Actor, reason: str, cutoff: datetime | None) -> None:
    """Let recovery act automatically on runs that began at or after ``cutoff`` (None: on all runs).

    Raises ``ControlRefused`` for a cutoff that is still to come.
    """
    require_passed(cutoff)
    _change(actor, reason, mode=RecoveryControl.Mode.ARMED, cutoff=cutoff)


def require_passed(cutoff: datetime | None) -> None:
    """Refuse a cutoff that is still to come, such as one of a wrong year: armed, sweeps would recover nothing until then."""
    if cutoff is not None and cutoff > database_now() + AHEAD:
        raise ControlRefused(
            f"{cutoff:%Y-%m-%d %H:%M %Z} is still to come: until then, nothing would be recovered. Give a time that "
            "has passed. Nothing was changed."
        )


def database_now() -> datetime:
    """Return the time by the database's clock, which times of runs are compared with."""
    times = RecoveryControl.objects.annotate(db_now=Now()).values_list("db_now", flat=True)
    now: datetime | None = times.filter(pk=1).first()
    if now is None:
        raise single_rows.missing(RecoveryControl)
    return now


def disarm(actor: Actor, reason: str) -> None:
    """Return to observe mode: sweeps show what they would do, and do nothing."""
    _change(actor, reason, mode=RecoveryControl.Mode.OBSERVE)


def leave_unknown_runs(actor: Actor, reason: str) -> None:
    """Leave silent runs without evidence of a dead worker to operators."""
    _change(actor, reason, unknown_rule=RecoveryControl.UnknownRule.NEVER, unknown_after=None)


def give_up_unknown_runs(actor: Actor, reason: str, *, after: timedelta | None) -> None:
    """Recover such runs once they were silent this long; None: for the visibility timeout of their queue."""
    rules = RecoveryControl.UnknownRule
    rule = rules.VISIBILITY if after is None else rules.AFTER
    if after is not None and not stale_after() <= after <= LONGEST_RULE:
        raise ControlRefused(
            f"The time must be between the stale threshold, {spell(stale_after())}, and {spell(LONGEST_RULE)}. "
            "Nothing was changed."
        )
    _change(actor, reason, unknown_rule=rule, unknown_after=after)


def hours(number: float) -> timedelta:
    """Return this many hours for the rule. Raise ``ControlRefused`` for a number that is none."""
    try:
        return timedelta(hours=number)
    except (OverflowError, ValueError) as error:
        raise ControlRefused(f"{number} is not a number of hours. Nothing was changed.") from error


def release_hold(actor: Actor, reason: str) -> bool:
    """Let the mass of stale runs be recovered now, by an operator's decision. Return False when nothing was held."""
    reason = reasons.required(reason, ControlRefused)
    with transaction.atomic():
        if not _end_hold(forgive=True):
            return False
        _change(actor, reason)
        return True


def _change(actor: Actor, reason: str, **changes: Any) -> None:
    reason = reasons.required(reason, ControlRefused)
    changed = {"changed_at": Now(), "changed_by": actor.name, "reason": reason, **changes}
    row = RecoveryControl.objects.filter(pk=1)
    if not row.update(**changed):
        # Somebody deleted the row. What a person decides is not lost because of it.
        RecoveryControl.objects.bulk_create([RecoveryControl(pk=1)], ignore_conflicts=True)
        row.update(**changed)
    facts: dict[str, Any] = {"switch": "recovery control", "actor": actor.name}
    activity.done("switch changed", **facts, **(changes or {"hold": "released"}))


def longest_normal_gap(sweep_interval: timedelta) -> timedelta:
    """Return two intervals, or half the threshold if longer: a shorter gap makes no live run stale."""
    return max(sweep_interval * INTERVALS, stale_after() / 2)


def configured_interval() -> timedelta:
    """Return the interval of sweeps before the first one has recorded it; see ``Surroundings.sweep_interval``."""
    return intervals.of_sweeps().every


def excuse_outage() -> None:
    """Count staleness from now after a gap without sweeps, because workers may have been unable to send heartbeats.

    Either the database or the sweeps were away; in both cases it is unknown which workers were alive.
    """
    RecoveryControl.objects.filter(pk=1).update(outage_ended_at=Now())


class HoldStep(Enum):
    """What an armed sweep does about a hold before it looks at single runs."""

    NONE = "nothing is held"
    BEGIN = "begins one"
    STAY = "leaves one in force"
    OVER = "ends one whose time is over"
    NEEDLESS = "ends one, because the runs send heartbeats again"


def hold_step(mass: int, hold_until: datetime | None, now: datetime) -> HoldStep:
    """Decide about the hold, with ``mass`` runs silent at once (0: too few to be a mass). Pure."""
    if not mass:
        return HoldStep.NEEDLESS if hold_until else HoldStep.NONE
    if hold_until is None:
        return HoldStep.BEGIN
    return HoldStep.STAY if hold_until > now else HoldStep.OVER


def take_hold_step(step: HoldStep, mass: int) -> None:
    """Carry out what ``hold_step`` decided, and alert about it."""
    match step:
        case HoldStep.BEGIN:
            _begin_hold(mass)
        case HoldStep.OVER:
            _end_hold(forgive=True)
        case HoldStep.NEEDLESS:
            _end_hold(forgive=False)
    if not mass:
        notify.resolve(MASS_STALENESS)


def mass_of_stale(policy: Policy) -> int:
    """Count the runs that went silent at once since the last mass event; 0 when they are too few to be a mass.

    Only runs that recovery may touch automatically count, not those from before the cutoff.
    """
    if not Job.objects.possibly_silent().longest_unchanged().exists():
        return 0
    stale = Job.objects.stale().order_by()
    if policy.forgiven_before:
        stale = Job.objects.stale_and_seen_since(policy.forgiven_before).order_by()
    if policy.cutoff:
        stale = stale.begun_since(policy.cutoff)
    fewest = settings.OPSCONSOLE_MASS_STALE_RUNS
    return mass(stale.count(), policy) if stale[:fewest].count() >= fewest else 0


def mass(at_once: int, policy: Policy) -> int:
    """Return how many runs went silent at once; 0 when they are too few to be a mass."""
    if at_once < settings.OPSCONSOLE_MASS_STALE_RUNS:
        return 0
    running = Job.objects.running()
    if policy.cutoff:
        running = running.begun_since(policy.cutoff)
    return at_once if at_once >= settings.OPSCONSOLE_MASS_STALE_SHARE * running.count() else 0


def went_silent(number: int) -> str:
    return f"{exactly(number, 'run')} went silent at once"


def _begin_hold(stale: int) -> None:
    with transaction.atomic():
        RecoveryControl.objects.filter(pk=1, hold_until=None).update(
            hold_started_at=Now(), hold_until=Now() + stale_after()
        )
        notify.fire(
            MASS_STALENESS,
            Trouble(
                title=went_silent(stale),
                severity="critical",
                summary=f"Recovery is held for {spell(stale_after())}. {PERHAPS_ALIVE} {TO_DECIDE}",
                value=stale,
                threshold=settings.OPSCONSOLE_MASS_STALE_RUNS,
                link=addresses.of_list("jobs_recoverycontrol"),
            ),
        )


def _end_hold(*, forgive: bool) -> bool:
    """End the hold once. Forgiven runs are recovered without counting against their jobs."""
    ended: dict[str, object] = {"hold_until": None}
    if forgive:
        ended["forgiven_before"] = F("hold_started_at")
    return bool(RecoveryControl.objects.filter(pk=1, hold_until__isnull=False).update(**ended))
