"""Sweeps: find runs whose worker died and requeue them.

Each page takes two statements in one transaction (I3). The first locks candidates that nobody else has locked
(``jobs.recovery.stale_pages``); the second reads the heartbeats again, on a new snapshot, and writes row, timeline and
outbox together (``jobs.recovery.rescue``). A heartbeat or a result that was committed in between wins.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from time import monotonic

from django.conf import settings
from django.db.models.functions import Now

from alerts import notify
from alerts.watch import monitor_alerts
from jobs.models import Job, Sweep
from jobs.models.worker import stale_after
from jobs.recovery import (
    control,
    hung_runs,
    lost_messages,
    passed_over,
    recovery_alerts,
    refused_runs,
    surroundings,
    untried_runs,
)
from jobs.recovery.batches import recover_all
from jobs.recovery.surroundings import Stop, Surroundings
from jobs.recovery.totals import Totals
from jobs.runs import observations
from opsconsole.kit import activity, metrics, tracing

_MODES = {
    None: Sweep.Mode.ARMED,
    Stop.OBSERVING: Sweep.Mode.OBSERVE,
    Stop.PAUSED: Sweep.Mode.PAUSED,
    Stop.HELD: Sweep.Mode.HELD,
}
STANDING_STILL = {Sweep.Mode.HELD, Sweep.Mode.PAUSED}


def sweep(trigger: str, *, every: timedelta | None = None) -> Sweep:
    """Sweep once: recover stale runs and re-send lost messages. Return the saved row.

    At most OPSCONSOLE_SWEEP_LIMIT runs are recovered; the next sweep continues. ``every``: the expected time until then;
    by default, the configured interval.
    """
    with tracing.span("sweep", {"opsconsole.trigger": trigger}) as span:
        row = _sweep(trigger, every)
        span.tell({"opsconsole.sweep": row.pk, "opsconsole.mode": row.mode})
    return row


def _sweep(trigger: str, every: timedelta | None) -> Sweep:
    began = monotonic()
    observations.look_at_workers()
    around = surroundings.glance()
    after_outage = around.sweeps_were_away
    if after_outage:
        control.excuse_outage()
    around = _with_the_hold(around)
    row = Sweep.objects.create(trigger=trigger, mode=_MODES[around.standstill])
    with activity.about(sweep=row.pk):
        _carry_out(row, around, after_outage=after_outage)
    if around.standstill:
        untried_runs.watch(around.standstill)
    else:
        passed_over.watch(row, around.read_at)
        refused_runs.watch(row)
    recovery_alerts.retell()
    observations.look_at_beats()
    hung_runs.watch()
    notify.monitor_ok(monitor_alerts.SWEEP, every or control.configured_interval())
    metrics.SWEEPS.count(mode=row.mode)
    metrics.SWEEP_SECONDS.observe(monotonic() - began)
    return row


def _carry_out(row: Sweep, around: Surroundings, *, after_outage: bool) -> None:
    """Recover and re-send what this sweep may, and complete its row."""
    totals = _observe() if around.standstill else recover_all(around.acting_policy)
    locked = passed_over.details(totals.locked, around.read_at)
    Sweep.objects.filter(pk=row.pk).update(
        finished_at=Now(),
        found=totals.found,
        requeued=totals.requeued,
        quarantined=totals.quarantined,
        skipped=totals.skipped,
        locked=len(totals.locked),
        errors=totals.errors,
        resent=0 if row.mode in STANDING_STILL else lost_messages.resend_lost(),
        note=" ".join(filter(None, [_note(around, totals, after_outage=after_outage), _lost_note(row)])),
        details=locked | {"lines": [*totals.lines, *locked["lines"]], "refused": totals.refused},
    )
    row.refresh_from_db()
    activity.done(
        "sweep ended", mode=row.mode, found=row.found, recovered=totals.recovered, resent=row.resent
    )


def _with_the_hold(around: Surroundings) -> Surroundings:
    """Begin or end a hold as needed. While sweeps may not act, only end one that is needless, with its alert."""
    looked = replace(around, mass=control.mass_of_stale(around.policy))
    may_act = around.standstill not in {Stop.OBSERVING, Stop.PAUSED}
    if may_act or not looked.mass:
        control.take_hold_step(looked.hold_step, looked.mass)
    return looked if may_act else around


def _note(around: Surroundings, totals: Totals, *, after_outage: bool) -> str:
    if after_outage:
        return (
            "No sweep had finished for a long time. Staleness counts from now, because workers may not have been "
            "able to send heartbeats."
        )
    match around.standstill:
        case Stop.OBSERVING:
            return "Recovery only observes. Nothing was changed."
        case Stop.PAUSED:
            return "Recovery is paused. Nothing was changed."
        case Stop.HELD:
            until = around.hold_until or around.read_at + stale_after()
            return f"Mass staleness: held until {until:%H:%M:%S %Z}, or until somebody releases the hold."
    if totals.recovered >= settings.OPSCONSOLE_SWEEP_LIMIT:
        return f"Stopped at {settings.OPSCONSOLE_SWEEP_LIMIT} recovered runs; the others are left to later sweeps."
    return ""


def _lost_note(row: Sweep) -> str:
    return lost_messages.note() if row.mode == Sweep.Mode.ARMED else ""


def _observe() -> Totals:
    some = Job.objects.possibly_silent().longest_unchanged().exists()
    return Totals(skipped=Job.objects.stale().count() if some else 0)
