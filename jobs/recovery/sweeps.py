"""Find runs whose worker died and start them again.

A page at a time, two statements in one transaction (I3): the first locks candidates that nobody else holds
(``jobs.recovery.candidates``), the second looks at the heartbeats again, on a new snapshot, and writes row, timeline and outbox
together (``jobs.recovery.rescue``). A beat or a result that was committed in between wins.
"""

from __future__ import annotations

from django.conf import settings
from django.db.models.functions import Now

from jobs.models import Job, RecoveryControl, Sweep
from jobs.recovery import control, hung_runs, lost_messages
from jobs.recovery.batches import Tally, recover_all
from jobs.recovery.decision import Action, Decision, Policy, decide
from opsconsole.kit import pauses

STANDING_STILL = {Sweep.Mode.HELD, Sweep.Mode.PAUSED}


def preview(limit: int = 500) -> list[Decision]:
    """What a sweep that may act would do now, at most ``limit`` runs, the longest waiting first."""
    policy = Policy.current(RecoveryControl.load())
    jobs = Job.objects.stale().order_by("updated_at", "pk")[:limit]
    return [decide(job, policy) for job in jobs]


def sweep(trigger: str) -> Sweep:
    """Look once at all runs, recover the stale ones, re-send lost messages. Returns the saved row.

    At most OPSCONSOLE_SWEEP_LIMIT runs are recovered; the next sweep goes on.
    """
    state = RecoveryControl.load()
    after_outage = control.note_outage(state)
    row = Sweep.objects.create(trigger=trigger, mode=_mode(state))
    tally = _observe(state) if row.mode != Sweep.Mode.ARMED else recover_all(Policy.current(state))
    Sweep.objects.filter(pk=row.pk).update(
        finished_at=Now(),
        found=tally.found,
        requeued=tally.done[Action.REQUEUE],
        quarantined=tally.done[Action.QUARANTINE],
        skipped=tally.done[Action.SKIP],
        errors=tally.errors,
        resent=0 if row.mode in STANDING_STILL else lost_messages.resend_lost(),
        note=_note(row, state, tally, after_outage=after_outage),
        details={"lines": tally.lines},
    )
    hung_runs.watch()
    row.refresh_from_db()
    return row


def _mode(state: RecoveryControl) -> Sweep.Mode:
    if not state.armed:
        return Sweep.Mode.OBSERVE
    if pauses.active(pauses.RECOVERY):
        return Sweep.Mode.PAUSED
    return Sweep.Mode.HELD if control.held(state) else Sweep.Mode.ARMED


def _note(row: Sweep, state: RecoveryControl, tally: Tally, *, after_outage: bool) -> str:
    if after_outage:
        return "No sweep had finished for long: staleness counts from now, as workers may not have been able to beat."
    if row.mode == Sweep.Mode.OBSERVE:
        return "Recovery only observes; nothing was changed."
    if row.mode == Sweep.Mode.PAUSED:
        return "Recovery is paused; nothing was changed."
    if row.mode == Sweep.Mode.HELD:
        return f"Mass staleness: held until {state.hold_until:%H:%M:%S %Z} or an operator's decision."
    if tally.full:
        return f"Stopped at {settings.OPSCONSOLE_SWEEP_LIMIT} recovered runs; the next sweep goes on."
    return ""


def _observe(state: RecoveryControl) -> Tally:
    tally = Tally()
    tally.found = Job.objects.stale().count()
    return tally
