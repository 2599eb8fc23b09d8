"""The current figures of the overview, read together and cached for a moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.db.models import Case, IntegerField, Value, When

from alerts.models import Alert
from alerts.models.alert import Severity
from alerts.sending import banner
from alerts.sending.banner import Banner
from alerts.watch import monitor_alerts
from jobs.models import DeadLetter, Job, MessageTrouble, Outbox, QueueState, Status, Sweep, WorkerHeartbeat
from jobs.recovery import lost_messages, passed_over, refused_runs, surroundings, waiting
from jobs.recovery.passed_over import LockedRuns
from jobs.recovery.refused_runs import RefusedRuns
from jobs.recovery.surroundings import Surroundings
from jobs.runs import worker_kinds
from jobs.watch import gauges
from jobs.watch.refused_claims import RefusedClaims
from opsconsole.cluster import schedules
from opsconsole.cluster.broker import recently_refused
from opsconsole.kit.counting import count
from opsconsole.overview import last_day
from ratelimits.models import LimiterTrouble
from ratelimits.policies import policy_cache

KEPT_SECONDS = 5
# The proof of lost messages reads more than the other figures and changes slowly.
LOST_KEPT_SECONDS = 60
SLOW_KEPT_SECONDS = 20
# More are counted, not named.
ALERTS_NAMED = 10

# In this process, because the pages must also open when the shared cache is away.
memory = LocMemCache("overview", {})


_WORST_FIRST = Case(
    When(severity="critical", then=Value(0)),
    When(severity="warning", then=Value(1)),
    default=Value(2),
    output_field=IntegerField(),
)


@dataclass(frozen=True)
class FiringAlert:
    """An alert that nobody has acknowledged. ``scope``: what its rule measures, such as a queue."""

    key: int
    title: str
    severity: str = Severity.WARNING
    rule: str = ""
    scope: str = ""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Counts stop at ``COUNTED_TO + 1``, which is shown as "10,000+"; ages are by the database's clock.

    ``without_workers``: jobs that wait while no worker is alive.
    ``unknown``: silent runs of which nobody knows whether they are alive. ``clocks_off``: workers whose clock is wrong.
    ``lost``: jobs whose message is proven lost and that no sweep re-sends. ``in_vain``: jobs whose message was
    re-sent as often as allowed. ``stale``: runs that a sweep recovers once it may act; ``stale_before_cutoff`` and
    ``stale_unknown_queue``: runs that it leaves to operators.

    ``refused_tasks`` and ``refused_schedules``: rows of the task queue that name what the cluster does not run.

    ``mass`` and ``overfull`` are those of ``jobs.recovery.surroundings``.

    ``untold``: why alerts don't reach somebody. ``waiting``: jobs that wait for a worker; ``scheduled``: for their time.

    None means unknown, which is not zero (I8). ``stale_day`` and ``recovered`` count jobs of 24 hours,
    ``limited_hour`` the 429s of one; a ``_line`` is the figure above which their rules fire.
    ``dead_letters`` is what SQS counts, ``letters`` what the console has stored of it.
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
    in_vain: int = 0
    firing: int = 0
    firing_alerts: tuple[FiringAlert, ...] = ()
    untold: Banner | None = None
    scheduled: int = 0
    stale_before_cutoff: int = 0
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
    letters: int = 0
    soonest_expiry: datetime | None = None
    alerts_open: int = 0
    limited_hour: int | None = None
    limited_line: float | None = None
    refused_tasks: int = 0
    refused_schedules: int = 0

    @property
    def stale_in_all(self) -> int:
        return self.stale + self.stale_before_cutoff + self.stale_unknown_queue

    @property
    def letters_read(self) -> int | None:
        """Return the dead letters that the console has read, or None when what SQS holds is unknown."""
        return None if self.dead_letters is None else self.letters

    @property
    def letters_note(self) -> str:
        """Return the target, or how many SQS counts when that is another number."""
        same = self.dead_letters is None or self.dead_letters == self.letters
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
    if seen is None:
        seen = _read()
        memory.set("overview", seen, KEPT_SECONDS)
    return seen


def surroundings_now(seen: Overview) -> Surroundings:
    """Read the surroundings of recovery, with the runs that were counted with the figures."""
    return replace(surroundings.glance(), mass=seen.mass, overfull=seen.overfull)


def _read() -> Overview:
    around = surroundings.read()
    workers = WorkerHeartbeat.objects.counted()
    last_sweep = Sweep.objects.last_finished()
    depths = last_day.dead_letters(around.read_at)
    return Overview(
        read_at=around.read_at,
        mass=around.mass,
        overfull=around.overfull,
        **_stale(around),
        hung=count(Job.objects.hung()),
        clocks_off=count(worker_kinds.wrong_clocks()),
        running=count(Job.objects.running()),
        waiting=count(Job.objects.startable()),
        scheduled=count(Job.objects.scheduled()),
        quarantined=count(Job.objects.filter(status=Status.QUARANTINED)),
        failed=count(Job.objects.failed_within_a_day()),
        unsent=count(Outbox.objects.due()),
        overdue=count(Outbox.objects.stuck()),
        workers_alive=workers["alive"],
        workers_silent=workers["silent"],
        workers_dead=workers["dead"],
        last_sweep=last_sweep,
        locked_runs=passed_over.long_locked(last_sweep),
        refused_runs=refused_runs.of(last_sweep),
        sweep_is_late=monitor_alerts.is_late(monitor_alerts.SWEEP),
        firing=count(Alert.objects.firing()),
        firing_alerts=_firing(),
        untold=banner.read(),
        unread_queues=tuple(QueueState.objects.unreadable().order_by("name").values_list("name", flat=True)),
        # While any worker is alive the count is zero, and needs no query.
        without_workers=0 if workers["alive"] else gauges.jobs_without_workers(),
        lost=_lost(around),
        in_vain=count(waiting.having(MessageTrouble.USED_UP)),
        limiter_troubles=tuple(LimiterTrouble.objects.present().values_list("kind", flat=True).distinct()),
        limiter_mode=policy_cache.current().mode,
        alerts_open=count(Alert.objects.open()),
        refused_tasks=count(recently_refused()),
        refused_schedules=count(schedules.refused()),
        oldest_wait=last_day.oldest_wait(around.read_at),
        dead_letters=depths.total,
        dead_letters_by_queue=depths.by_queue,
        letters=count(DeadLetter.objects.present()),
        soonest_expiry=last_day.soonest_expiry(),
        **_slow(),
    )


def _firing() -> tuple[FiringAlert, ...]:
    rows = (
        Alert.objects.firing()
        .order_by(_WORST_FIRST, "-since")
        .only("title", "severity", "rule", "fingerprint")
    )
    return tuple(
        FiringAlert(row.pk, row.title, row.severity, row.rule, row.fingerprint.partition(":")[2])
        for row in rows[:ALERTS_NAMED]
    )


def _stale(around: Surroundings) -> dict[str, Any]:
    """Count silent runs by what a sweep would do about them. Usually there are none, which one query shows."""
    stale, cutoff = Job.objects.stale(), around.policy.cutoff
    if not Job.objects.silent_at_any_time().order_by().exists():
        return {"stale": 0}
    before = stale.begun_before(cutoff) if cutoff else stale.none()
    others = stale.begun_since(cutoff) if cutoff else stale
    return {
        "stale": count(surroundings.recoverable(stale, around.policy)),
        "stale_before_cutoff": count(before),
        "unknown": count(surroundings.unknown_runs(cutoff)),
        "unknown_before_cutoff": count(Job.objects.unknown().begun_before(cutoff)) if cutoff else 0,
        "stale_unknown_queue": count(others.exclude(queue__in=around.policy.queues)),
    }


def _lost(around: Surroundings) -> int:
    if around.armed and lost_messages.resending():
        return 0
    lost_count: int | None = memory.get("lost")
    if lost_count is None:
        lost_count = count(waiting.having(MessageTrouble.LOST))
        memory.set("lost", lost_count, LOST_KEPT_SECONDS)
    return lost_count


def _slow() -> dict[str, Any]:
    """Return the figures of a day or an hour, which are cached for longer than the others."""
    slow: dict[str, Any] | None = memory.get("slow")
    if slow is None:
        slow = last_day.slow_figures()
        memory.set("slow", slow, SLOW_KEPT_SECONDS)
        # The charts and sparklines are read again with them, so that all tell of the same events.
        memory.delete_many(["lately", "courses", "watches"])
    return slow
