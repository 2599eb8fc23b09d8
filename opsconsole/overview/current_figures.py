"""The current figures of the overview, read together and cached for a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.models import Alert
from alerts.sending import banner
from alerts.sending.banner import Banner
from alerts.watch import monitor_alerts
from jobs.intake import waits
from jobs.models import DeadLetter, Job, MessageTrouble, Outbox, QueueState, Status, Sweep, WorkerHeartbeat
from jobs.recovery import (
    lost_messages,
    passed_over,
    refused_runs,
    silent_totals,
    surroundings,
    waiting,
)
from jobs.recovery.passed_over import LockedRuns
from jobs.recovery.refused_runs import RefusedRuns
from jobs.recovery.silent_totals import SilentTotals
from jobs.recovery.surroundings import Surroundings
from jobs.runs import worker_kinds
from jobs.watch import worker_gauges
from jobs.watch.refused_claims import RefusedClaims
from opsconsole import switches
from opsconsole.cluster import schedules
from opsconsole.cluster.broker import recently_refused
from opsconsole.kit import one_statement
from opsconsole.kit.built_once import built_once
from opsconsole.kit.models import Pause
from opsconsole.kit.one_statement import Reading, column_of, count_of, exists_of, models_of, records_of
from opsconsole.overview import firing, last_day, lost_jobs, slow_rows
from opsconsole.overview.firing import FiringRule
from opsconsole.overview.memory import memory
from ratelimits.models import LimiterTrouble
from ratelimits.policies import policy_cache

KEPT_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Counts stop at ``COUNTED_TO + 1``, which is shown as "10,000+"; ages are by the database's clock.

    ``without_workers``: jobs that wait while no worker is alive.
    ``unknown``: silent runs of which nobody knows whether they are alive. ``clocks_off``: workers whose clock is wrong.
    ``lost``: jobs whose message is proven lost and that the next sweep does not send again; ``lost_before_cutoff``: those
    that no sweep sends again for their age. ``resending``: whether sweeps may send messages again. ``in_vain``: jobs whose
    message was sent again as often as allowed. ``stale``: runs that a sweep recovers once it may act; ``stale_before_cutoff``,
    ``stale_by_hand`` and ``stale_unknown_queue``: runs that it leaves to operators.

    ``refused_tasks`` and ``refused_schedules``: rows of the task queue that name what the cluster does not run.
    ``present_schedules``: those that it runs; none before its first start.

    ``mass`` and ``overfull`` are those of ``jobs.recovery.surroundings``.

    ``untold``: why alerts don't reach somebody. ``waiting``: jobs that wait for a worker; ``scheduled``: for their time.

    None means unknown, which is not zero (I8). ``stale_day`` and ``recovered`` count jobs of 24 hours,
    ``limited_hour`` the 429s of one; a ``_line`` is the figure above which their rules fire.
    ``dead_letters`` is what SQS counts, ``open_letters`` those that the navigation counts and the list shows at first:
    undecided, also kept in the console, or being replayed.
    """

    read_at: datetime
    stale: int
    hung: int
    running: int
    waiting: int
    quarantined: int
    failed: int
    unsent: int
    overdue: int
    workers_alive: int
    workers_silent: int
    workers_dead: int
    last_sweep: Sweep | None
    sweep_is_late: bool
    unread_queues: tuple[str, ...]
    locked_runs: LockedRuns | None = None
    refused_runs: RefusedRuns | None = None
    refused_claims: RefusedClaims | None = None
    unknown: int = 0
    unknown_before_cutoff: int = 0
    clocks_off: int = 0
    without_workers: int = 0
    lost: int = 0
    lost_before_cutoff: int = 0
    resending: bool = False
    in_vain: int = 0
    firing: int = 0
    firing_rules: tuple[FiringRule, ...] = ()
    untold: Banner | None = None
    scheduled: int = 0
    stale_before_cutoff: int = 0
    stale_by_hand: int = 0
    stale_unknown_queue: int = 0
    mass: int = 0
    overfull: bool = False
    limiter_troubles: tuple[str, ...] = ()
    limiter_mode: str = "enforce"
    stale_day: int | None = None
    arrived_day: int | None = None
    stale_line: float | None = None
    recovered: int | None = None
    oldest_wait: timedelta | None = None
    dead_letters: int | None = None
    dead_letters_by_queue: Mapping[str, int] = field(default_factory=dict)
    open_letters: int = 0
    soonest_expiry: datetime | None = None
    alerts_open: int = 0
    limited_hour: int | None = None
    limited_line: float | None = None
    refused_tasks: int = 0
    refused_schedules: int = 0
    present_schedules: int = 0

    @property
    def stale_in_all(self) -> int:
        return self.stale + self.stale_before_cutoff + self.stale_by_hand + self.stale_unknown_queue

    @property
    def letters_read(self) -> int | None:
        """Return the letters that are undecided or being replayed, or None when what SQS holds is unknown."""
        return None if self.dead_letters is None else self.open_letters

    @property
    def letters_note(self) -> str:
        """Return the target, or how many SQS counts when that is another number than that of the open letters."""
        same = self.dead_letters is None or self.dead_letters == self.open_letters
        return "target 0" if same else f"SQS counts {self.dead_letters:,}"

    @property
    def expires_in(self) -> timedelta | None:
        """Return the time until SQS deletes the first undecided letter."""
        return None if self.soonest_expiry is None else max(self.soonest_expiry - self.read_at, timedelta(0))

    @property
    def sweep_age(self) -> timedelta | None:
        ended = self.last_sweep and self.last_sweep.finished_at
        return self.read_at - ended if ended else None


def read() -> Overview:
    """Return the figures, at most ``KEPT_SECONDS`` old."""
    seen: Overview | None = memory.get("overview")
    return read_moment().seen if seen is None else seen


def surroundings_now(seen: Overview) -> Surroundings:
    """Read the surroundings of recovery, with the runs that were counted with the figures."""
    return _of_runs(surroundings.glance(), seen)


def _of_runs(around: Surroundings, seen: Overview) -> Surroundings:
    return replace(around, mass=seen.mass, overfull=seen.overfull)


@dataclass(frozen=True)
class Moment:
    """The figures, at most ``KEPT_SECONDS`` old, beside what is never cached: what decides about recovery, and the pauses."""

    seen: Overview
    around: Surroundings
    pauses: Sequence[Pause]


def read_moment() -> Moment:
    """Read all of it by one statement, or the figures from the cache and the rest by one."""
    seen: Overview | None = memory.get("overview")
    rows = one_statement.read(**_fresh()) if seen else one_statement.read(**_fresh(), **_readings())
    state, pauses = rows.pop("state"), rows.pop("pauses")
    around = surroundings.of_state(state)
    if seen is None:
        seen = _of_rows(around, rows)
        memory.set("overview", seen, KEPT_SECONDS)
    return Moment(seen, _of_runs(around, seen), pauses)


def _of_rows(glance: Surroundings, read: dict[str, Any]) -> Overview:
    silent = silent_totals.read(glance.policy, with_jobs=True)
    around = surroundings.with_totals(glance, silent) if glance.armed else glance
    workers = WorkerHeartbeat.objects.of_numbers(read.pop("worker_numbers"))
    last_sweep = next(iter(read.pop("last_sweeps")), None)
    depths = last_day.dead_letters(read.pop("dead_letter_queues"), around.read_at)
    firing_rules = firing.of_rows({name: read.pop(name) for name in (firing.NUMBERS, firing.ROWS)})
    of_day = dict(slow_rows.read().figures)
    resending = lost_messages.resending(old_kind=read.pop("old_kind"))
    lost = lost_jobs.read(around, resending=resending)
    return Overview(
        read_at=around.read_at,
        mass=around.mass,
        overfull=around.overfull,
        workers_alive=workers["alive"],
        workers_silent=workers["silent"],
        workers_dead=workers["dead"],
        last_sweep=last_sweep,
        locked_runs=passed_over.long_locked(last_sweep),
        refused_runs=refused_runs.of(last_sweep),
        sweep_is_late=not read.pop("sweep_in_time"),
        firing_rules=firing_rules,
        untold=banner.read(),
        unread_queues=tuple(read.pop("unread_queues")),
        # While any worker is alive the count is zero, and needs no query.
        without_workers=0 if workers["alive"] else worker_gauges.jobs_without_workers(),
        lost=lost.since_cutoff,
        lost_before_cutoff=lost.before_cutoff,
        resending=resending,
        limiter_troubles=tuple(read.pop("limiter_troubles")),
        limiter_mode=policy_cache.current().mode,
        oldest_wait=last_day.oldest_wait(read.pop("waiting_since"), around.read_at),
        dead_letters=depths.total,
        dead_letters_by_queue=depths.by_queue,
        stale_day=last_day.stale_day(of_day.pop("taken_day"), silent.stale),
        **_of_silent_runs(silent),
        **read,
        **of_day,
    )


def _of_silent_runs(silent: SilentTotals) -> dict[str, Any]:
    return {
        "stale": silent.recoverable,
        "stale_before_cutoff": silent.before_cutoff,
        "stale_by_hand": silent.by_hand,
        "stale_unknown_queue": silent.unknown_queue,
        "unknown": silent.unknown,
        "unknown_before_cutoff": silent.unknown_before_cutoff,
    }


@built_once
def _fresh() -> dict[str, Reading[Any]]:
    """Return what each page reads anew."""
    return {"state": surroundings.reading(), "pauses": models_of(switches.active())}


@built_once
def _readings() -> dict[str, Reading[Any]]:
    """Return what one statement reads: the counts by the names of the figures, and rows."""
    troubles = LimiterTrouble.objects.present().values_list("kind", flat=True)
    return {
        "hung": count_of(Job.objects.hung()),
        "clocks_off": count_of(worker_kinds.wrong_clocks()),
        "running": count_of(Job.objects.running()),
        "waiting": count_of(waits.by_index(Job.objects.all())),
        "scheduled": count_of(Job.objects.scheduled()),
        "quarantined": count_of(Job.objects.filter(status=Status.QUARANTINED)),
        "failed": count_of(Job.objects.failed_within_a_day()),
        "unsent": count_of(Outbox.objects.due()),
        "overdue": count_of(Outbox.objects.stuck()),
        "in_vain": count_of(waiting.having(MessageTrouble.USED_UP)),
        "open_letters": count_of(DeadLetter.objects.open()),
        "soonest_expiry": last_day.soonest_expiry(),
        "waiting_since": waits.oldest(),
        "dead_letter_queues": models_of(last_day.dead_letter_queues()),
        "last_sweeps": models_of(Sweep.objects.newest_finished()[:1]),
        "worker_numbers": records_of(WorkerHeartbeat.objects.numbers()),
        "old_kind": exists_of(WorkerHeartbeat.objects.old_kind_in_use()),
        "sweep_in_time": exists_of(monitor_alerts.in_time(monitor_alerts.SWEEP)),
        "firing": count_of(Alert.objects.firing()),
        **firing.readings(),
        "alerts_open": count_of(Alert.objects.open()),
        "unread_queues": column_of(
            QueueState.objects.unreadable().order_by("name").values_list("name", flat=True)
        ),
        "limiter_troubles": column_of(troubles.distinct()),
        "refused_tasks": count_of(recently_refused()),
        "refused_schedules": count_of(schedules.refused()),
        "present_schedules": count_of(schedules.present()),
    }
