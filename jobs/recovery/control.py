"""Whether recovery may act: armed or observing, held by mass staleness, excused by an outage (I6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.urls import reverse

from alerts import notify
from jobs.models import Job, RecoveryControl, Sweep
from jobs.models.worker import stale_after
from jobs.runs.timeline import Actor
from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError

MASS_STALENESS = "mass-staleness"


class ControlRefused(OpsConsoleError):
    """The control can't be changed as asked; the message says what is missing."""


def arm(actor: Actor, reason: str, cutoff: datetime | None) -> None:
    """Let recovery act by itself on runs that began at or after ``cutoff`` (None: on all runs)."""
    _change(actor, reason, mode=RecoveryControl.Mode.ARMED, cutoff=cutoff)


def disarm(actor: Actor, reason: str) -> None:
    """Back to observe mode: sweeps show what they would do, and do nothing."""
    _change(actor, reason, mode=RecoveryControl.Mode.OBSERVE)


def release_hold(actor: Actor, reason: str) -> bool:
    """An operator decides that the mass of stale runs is to be recovered now. False: nothing was held."""
    reason = reasons.required(reason, ControlRefused)
    with transaction.atomic():
        if not _end_hold(forgive=True):
            return False
        _change(actor, reason)
        return True


def _change(actor: Actor, reason: str, **changes: object) -> None:
    reason = reasons.required(reason, ControlRefused)
    RecoveryControl.objects.filter(pk=1).update(
        changed_at=Now(), changed_by=actor.name, reason=reason, **changes
    )


def note_outage(control: RecoveryControl) -> bool:
    """After a gap without sweeps, staleness counts from now: workers could not beat either. True: there was one.

    The database was away, or the sweep was; in both cases nobody knows who would have beaten.
    """
    recent = Sweep.objects.filter(finished_at__gte=Now() - longest_normal_gap())
    if recent.exists() or not Sweep.objects.finished().exists():
        return False
    RecoveryControl.objects.filter(pk=1).update(outage_ended_at=Now())
    control.refresh_from_db()
    return True


def longest_normal_gap() -> timedelta:
    """Two sweep intervals, or half the threshold when that is longer: a shorter gap makes no live run stale."""
    interval = timedelta(seconds=settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS)
    return max(2 * interval, stale_after() / 2)


def held(control: RecoveryControl) -> bool:
    """Whether mass staleness stops this sweep; begins and ends the hold as needed."""
    stale, mass = _mass_of_stale(control)
    if not mass:
        _end_hold(forgive=False)
        notify.resolve(MASS_STALENESS)
        control.refresh_from_db()
        return False
    if control.hold_until is None:
        _begin_hold(stale)
        control.refresh_from_db()
        return True
    if RecoveryControl.objects.filter(pk=1, hold_until__gt=Now()).exists():
        return True
    _end_hold(forgive=True)
    control.refresh_from_db()
    return False


def _mass_of_stale(control: RecoveryControl) -> tuple[int, bool]:
    """How many runs went silent since the last mass event, and whether that is a mass.

    Only runs count that recovery may touch by itself, not those from before the cutoff.
    """
    stale, running = Job.objects.stale().order_by(), Job.objects.running()
    if control.forgiven_before:
        stale = Job.objects.stale_and_seen_since(control.forgiven_before).order_by()
    if control.cutoff:
        stale, running = stale.begun_since(control.cutoff), running.begun_since(control.cutoff)
    fewest = settings.OPSCONSOLE_MASS_STALE_RUNS
    if stale[:fewest].count() < fewest:
        return 0, False
    count = stale.count()
    return count, count >= settings.OPSCONSOLE_MASS_STALE_SHARE * running.count()


def _begin_hold(stale: int) -> None:
    with transaction.atomic():
        RecoveryControl.objects.filter(pk=1, hold_until=None).update(
            hold_started_at=Now(), hold_until=Now() + stale_after()
        )
        notify.fire(
            MASS_STALENESS,
            title=f"{stale} runs went silent at once",
            severity="critical",
            summary="Automatic recovery waits: the fault may lie with the network or the database, "
            "and the workers be alive. Look, then release the hold or let it end by itself.",
            value=stale,
            threshold=settings.OPSCONSOLE_MASS_STALE_RUNS,
            link=reverse("admin:jobs_recoverycontrol_changelist"),
        )


def _end_hold(*, forgive: bool) -> bool:
    """End the hold once. Forgiven runs are recovered without being counted against their jobs."""
    ended: dict[str, object] = {"hold_until": None}
    if forgive:
        ended["forgiven_before"] = F("hold_started_at")
    return bool(RecoveryControl.objects.filter(pk=1, hold_until__isnull=False).update(**ended))
