"""The surroundings of recovery: its mode, pauses, holds, the cutoff, and whether sweeps run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property, partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, QuerySet, Subquery
from django.db.models.functions import Now
from django_q.models import Schedule

from alerts.watch import monitor_alerts
from jobs.models import Job, RecoveryControl, Sweep
from jobs.models.job import JobQuerySet
from jobs.recovery import control, silent_totals
from jobs.recovery.control import HoldStep
from jobs.recovery.decision import Policy
from jobs.recovery.silent_totals import SilentTotals
from opsconsole.kit import job_ids, one_statement, pauses, single_rows
from opsconsole.kit.built_once import built_once
from opsconsole.kit.models import Pause
from opsconsole.kit.one_statement import Reading

SWEEP_TASK, BY_SCHEDULE = "jobs.tasks.sweep", "schedule"
# The value that django-q2 stores in a schedule that is switched off.
SWITCHED_OFF = 0


class Stop(StrEnum):
    """What keeps stale runs from being recovered by the next sweep."""

    OBSERVING = "observing"
    PAUSED = "paused"
    HELD = "held"
    NO_SWEEPS = "no_sweeps"
    SCHEDULE_PAUSED = "schedule_paused"


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """The surroundings at one moment, by the database's clock.

    ``mass`` is how many runs went silent at once (0: too few to hold recovery). ``overfull``: more runs may be recovered
    than one sweep recovers. A pause without ``paused_until`` has no end. ``sweep_interval`` is the interval that the last
    sweep recorded. ``by_hand``: a person starts the next sweep, whatever the schedule does. ``locked``: jobs whose row others had
    locked when the last sweep, or the reader, looked. ``refused``: jobs whose recovery the database refused in the last sweep
    that acted, with the rule. ``more_in_the_way``: there were more of either than are remembered.
    """

    read_at: datetime
    armed: bool
    policy: Policy
    hold_started_at: datetime | None = None
    hold_until: datetime | None = None
    paused: bool = False
    paused_until: datetime | None = None
    last_sweep_at: datetime | None = None
    sweep_interval: timedelta = field(default_factory=control.configured_interval)
    schedule_paused: bool = False
    by_hand: bool = False
    mass: int = 0
    overfull: bool = False
    locked: frozenset[UUID] = frozenset()
    refused: Mapping[UUID, str] = field(default_factory=dict)
    more_in_the_way: bool = False
    unknown_rule: str = RecoveryControl.UnknownRule.NEVER
    unknown_after: timedelta | None = None

    @cached_property
    def sweeps_were_away(self) -> bool:
        """Tell whether the next sweep excuses all silence, because no sweep has ended for a long time."""
        return self.sweepless_for is not None and self.sweepless_for > control.longest_normal_gap(
            self.sweep_interval
        )

    @property
    def sweepless_for(self) -> timedelta | None:
        """Return how long ago the last sweep ended; None when none has ended yet."""
        return None if self.last_sweep_at is None else self.read_at - self.last_sweep_at

    @cached_property
    def hold_step(self) -> HoldStep:
        return control.hold_step(self.mass, self.hold_until, self.read_at)

    @property
    def held_until(self) -> datetime | None:
        """Return when the current hold ends automatically; None also for a hold that the next sweep begins or ends."""
        return self.hold_until if self.hold_step == HoldStep.STAY else None

    @property
    def hold_begins(self) -> bool:
        """Tell whether the next sweep holds recovery instead of acting."""
        return self.stop == Stop.HELD and self.hold_step == HoldStep.BEGIN

    @property
    def holds_beyond_the_pause(self) -> bool:
        """Tell whether a hold may keep sweeps from acting after the pause."""
        if self.held_until is None:
            return self.hold_step == HoldStep.BEGIN
        return self.paused_until is None or self.held_until > self.paused_until

    @cached_property
    def acting_policy(self) -> Policy:
        """Return the policy of the next sweep that acts; a hold forgives the runs that were silent when it began."""
        match self.hold_step:
            case HoldStep.BEGIN:
                return replace(self.policy, forgiven_before=self.read_at)
            case HoldStep.STAY | HoldStep.OVER:
                return replace(self.policy, forgiven_before=self.hold_started_at)
        return self.policy

    @property
    def standstill(self) -> Stop | None:
        """Return what keeps a sweep that runs now from recovering anything."""
        if not self.armed:
            return Stop.OBSERVING
        if self.paused:
            return Stop.PAUSED
        return Stop.HELD if self.hold_step in {HoldStep.BEGIN, HoldStep.STAY} else None

    @cached_property
    def stop(self) -> Stop | None:
        """Return what keeps the next sweep from recovering stale runs, including that no sweep runs automatically."""
        if not self.armed:
            return Stop.OBSERVING
        if self.schedule_paused and not self.by_hand:
            return Stop.SCHEDULE_PAUSED
        return Stop.NO_SWEEPS if self.sweeps_were_away else self.standstill


def glance() -> Surroundings:
    """Read the surroundings in one query, without counting runs: ``mass`` and ``overfull`` stay as if none were stale."""
    return of_state(one_statement.read(state=reading())["state"])


@built_once
def reading() -> Reading[Any]:
    """Read the row of ``state()`` together with other readings. Raise ``RowMissing``."""
    return one_statement.models_of(state()).then(partial(single_rows.only, RecoveryControl))


def state() -> QuerySet[Any]:
    """Return the row of recovery's state with what ``of_state`` needs besides."""
    pause = Pause.objects.active().filter(name=pauses.RECOVERY)
    ended = Sweep.objects.finished().order_by("-started_at", "-id")
    schedules = Schedule.objects.filter(func=SWEEP_TASK)
    return RecoveryControl.objects.filter(pk=1).annotate(
        read_at=Now(),
        paused=Exists(pause),
        paused_until=Subquery(pause.values("until")[:1]),
        last_sweep_at=Subquery(ended.values("finished_at")[:1]),
        last_trigger=Subquery(ended.values("trigger")[:1]),
        last_locked=Subquery(ended.values("details__locked")[:1]),
        last_refused=Subquery(Sweep.objects.refusals()),
        last_locked_count=Subquery(ended.values("locked")[:1]),
        sweep_interval=Subquery(monitor_alerts.named(monitor_alerts.SWEEP).values("interval")),
        scheduled=Exists(schedules),
        schedule_on=Exists(schedules.exclude(repeats=SWITCHED_OFF)),
    )


def of_state(state: Any) -> Surroundings:
    """Return the surroundings, given the row of ``state()``; ``mass`` and ``overfull`` stay as if none were stale."""
    refusals = (state.last_refused or {}).values()
    # Where a command or a loop sweeps, no schedule is needed.
    by_schedule = state.last_trigger in {None, BY_SCHEDULE}
    return Surroundings(
        read_at=state.read_at,
        armed=state.armed,
        policy=Policy.current(state),
        unknown_rule=state.unknown_rule,
        unknown_after=state.unknown_after,
        hold_started_at=state.hold_started_at,
        hold_until=state.hold_until,
        paused=state.paused,
        paused_until=state.paused_until,
        last_sweep_at=state.last_sweep_at,
        sweep_interval=state.sweep_interval or control.configured_interval(),
        schedule_paused=by_schedule and state.scheduled and not state.schedule_on,
        locked=frozenset(filter(None, map(job_ids.parse, state.last_locked or {}))),
        refused={
            known: rule
            for rule, kept in (state.last_refused or {}).items()
            for job_id in kept["jobs"]
            if (known := job_ids.parse(job_id)) is not None
        },
        more_in_the_way=(state.last_locked_count or 0) > len(state.last_locked or {})
        or any(kept["runs"] > len(kept["jobs"]) for kept in refusals),
    )


def read() -> Surroundings:
    """Read the surroundings, and count the stale runs where their number decides."""
    return counted_if_armed(glance())


def counted_if_armed(around: Surroundings) -> Surroundings:
    return counted(around) if around.armed else around


def counted(around: Surroundings) -> Surroundings:
    """Add the counts of stale runs to surroundings that were read without them."""
    return with_totals(around, silent_totals.read(around.policy))


def with_totals(around: Surroundings, totals: SilentTotals) -> Surroundings:
    """Add what the numbers of silent runs decide."""
    overfull = totals.recoverable > settings.OPSCONSOLE_SWEEP_LIMIT
    return replace(around, mass=control.mass(totals.at_once, around.policy), overfull=overfull)


def if_armed(around: Surroundings, cutoff: datetime | None) -> Surroundings:
    """Return the surroundings as they would be if somebody armed recovery now with this cutoff."""
    return counted(replace(around, armed=True, policy=replace(around.policy, cutoff=cutoff)))


def unknown_runs(cutoff: datetime | None) -> JobQuerySet:
    """Return the unknown runs that somebody should look at: those from before the cutoff are handled by hand anyway."""
    return Job.objects.unknown().begun_since(cutoff) if cutoff else Job.objects.unknown()


def unknown_before_cutoff(cutoff: datetime | None) -> JobQuerySet:
    """Return the other unknown runs."""
    return Job.objects.unknown().begun_before(cutoff) if cutoff else Job.objects.none()


def recoverable(runs: JobQuerySet, policy: Policy) -> JobQuerySet:
    """Return the stale runs that a sweep under this policy requeues or quarantines: ``decide`` as a query."""
    return _since_cutoff(runs, policy).filter(queue__in=policy.recovered_queues)


def left_by_hand(runs: JobQuerySet, policy: Policy) -> JobQuerySet:
    """Return the stale runs that sweeps leave to operators because their queue says so, and not for their age."""
    return _since_cutoff(runs, policy).filter(queue__in=policy.queues & policy.by_hand)


def before_cutoff(runs: JobQuerySet, policy: Policy) -> JobQuerySet:
    """Return the stale runs that sweeps leave to operators for their age."""
    return runs.begun_before(policy.cutoff) if policy.cutoff else runs.none()


def of_unknown_queues(runs: JobQuerySet, policy: Policy) -> JobQuerySet:
    """Return the stale runs that sweeps leave alone because their queue is not configured, and not for their age."""
    return _since_cutoff(runs, policy).exclude(queue__in=policy.queues)


def _since_cutoff(runs: JobQuerySet, policy: Policy) -> JobQuerySet:
    return runs.begun_since(policy.cutoff) if policy.cutoff else runs
