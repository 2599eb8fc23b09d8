"""Is everything all right? The figures of the overview, and what they mean in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.db.models.functions import Now
from django.urls import reverse

from alerts.models import Alert
from jobs import lost
from jobs.models import Job, Outbox, QueueState, RecoveryControl, Status, Sweep, WorkerHeartbeat
from jobs.models.outbox import MOST_RESENDS
from opsconsole import switches
from opsconsole.durations import spell
from ratelimits import policies
from ratelimits.models import LimiterTrouble

COUNTED_TO = 10_000
KEPT_SECONDS = 5
# The proof of lost messages reads more than the other figures, and changes slowly.
LOST_KEPT_SECONDS = 60
FAILED_WITHIN = timedelta(hours=24)
UNSENT_AFTER = timedelta(minutes=2)
INTERVALS_UNTIL_LATE = 3

# In the process: the pages must also open when the shared cache is away.
memory = LocMemCache("overview", {})


_WORST_FIRST = Case(
    When(severity="critical", then=Value(0)),
    When(severity="warning", then=Value(1)),
    default=Value(2),
    output_field=IntegerField(),
)


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Counts stop at ``COUNTED_TO + 1``, which is shown as "10,000+"; ages are by the database's clock.

    ``lost``: jobs whose message is proven lost and that no sweep sends again by itself. ``in_vain``: jobs whose
    message was sent again as often as is allowed. ``stale_by_hand``: stale runs from before
    the cutoff, which nothing recovers by itself; ``stale``: the others.
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
    unread_queues: tuple[str, ...]
    lost: int = 0
    in_vain: int = 0
    firing: int = 0
    worst_alert: str = ""
    stale_by_hand: int = 0
    limiter_troubles: tuple[str, ...] = ()
    limiter_mode: str = "enforce"

    @property
    def stale_in_all(self) -> int:
        return self.stale + self.stale_by_hand

    @property
    def sweep_age(self) -> timedelta | None:
        ended = self.last_sweep and self.last_sweep.finished_at
        return self.read_at - ended if ended else None

    @property
    def sweep_is_late(self) -> bool:
        interval = timedelta(seconds=settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS)
        return self.sweep_age is None or self.sweep_age > INTERVALS_UNTIL_LATE * interval


@dataclass(frozen=True)
class Finding:
    """One thing that an operator should know, the way to the page where it can be settled."""

    tone: str
    sentence: str
    advice: str
    where: str
    link: str
    query: str = ""

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.link}") + self.query


def read() -> Overview:
    """The figures, at most ``KEPT_SECONDS`` old."""
    seen: Overview | None = memory.get("overview")
    if seen is None:
        seen = _read()
        memory.set("overview", seen, KEPT_SECONDS)
    return seen


def _read() -> Overview:
    control = RecoveryControl.objects.annotate(read_at=Now()).get(pk=1)
    failed = Job.objects.filter(
        status=Status.FAILED,
        updated_at__gte=Now() - FAILED_WITHIN,
        # Keeps the walk along the index of failed jobs short, however many there are.
        created_at__gte=Now() - 7 * FAILED_WITHIN,
    )
    due = Outbox.objects.due()
    workers = WorkerHeartbeat.objects
    stale = Job.objects.stale()
    automatic = _count(stale.begun_since(control.cutoff) if control.armed and control.cutoff else stale)
    return Overview(
        read_at=control.read_at,
        stale=automatic,
        stale_by_hand=_count(stale.begun_before(control.cutoff)) if control.armed and control.cutoff else 0,
        hung=_count(Job.objects.hung()),
        running=_count(Job.objects.running()),
        waiting=_count(Job.objects.waiting()),
        quarantined=_count(Job.objects.filter(status=Status.QUARANTINED)),
        failed=_count(failed),
        unsent=_count(due),
        overdue=_count(due.filter(available_at__lt=Now() - UNSENT_AFTER)),
        workers_alive=_count(workers.alive()),
        workers_silent=_count(workers.silent()),
        workers_dead=_count(workers.dead()),
        last_sweep=Sweep.objects.finished().order_by("-started_at", "-id").first(),
        firing=_count(Alert.objects.firing()),
        worst_alert=Alert.objects.firing()
        .order_by(_WORST_FIRST, "-since")
        .values_list("title", flat=True)
        .first()
        or "",
        unread_queues=tuple(QueueState.objects.exclude(error="").values_list("name", flat=True)),
        lost=_lost(control),
        in_vain=_count(Job.objects.resends_used_up()),
        limiter_troubles=tuple(LimiterTrouble.objects.present().values_list("kind", flat=True).distinct()),
        limiter_mode=policies.current().mode,
    )


def _lost(control: RecoveryControl) -> int:
    if control.armed and lost.resending():
        return 0
    found: int | None = memory.get("lost")
    if found is None:
        found = _count(lost.proven_lost())
        memory.set("lost", found, LOST_KEPT_SECONDS)
    return found


def _count(rows: QuerySet[Any]) -> int:
    return rows.order_by().values("pk")[: COUNTED_TO + 1].count()


def findings(seen: Overview, control: RecoveryControl) -> list[Finding]:
    """What needs somebody's attention, the most pressing first; empty when all is well."""
    return [
        *of_recovery(seen, control),
        *_of_the_machine(seen),
        *_of_the_limiter(seen),
        *_of_jobs(seen, control),
        *_of_alerts(seen),
    ]


def of_recovery(seen: Overview, control: RecoveryControl) -> list[Finding]:
    if control.armed and control.hold_until and control.hold_until > seen.read_at:
        return [
            Finding(
                "bad",
                f"Recovery is held: {runs(seen.stale)} went silent at once.",
                "See whether the workers are alive, then release the hold or let it end.",
                "Open recovery",
                "jobs_recoverycontrol_changelist",
            )
        ]
    if not control.armed:
        return [
            Finding(
                "warning" if seen.stale else "quiet",
                f"Recovery only observes: {runs(seen.stale)} would be recovered.",
                "Sweeps change nothing until somebody arms it.",
                "Review and arm",
                "jobs_recoverycontrol_changelist",
            )
        ]
    return []


def of_switches() -> list[Finding]:
    """What somebody holds still."""
    return [
        Finding(
            "warning",
            switches.sentence(switch, pause),
            switch.advice,
            "Open switches",
            "opsconsole_pause_changelist",
        )
        for switch, pause in switches.in_force()
    ]


def _of_the_machine(seen: Overview) -> list[Finding]:
    found = []
    if seen.sweep_is_late:
        age = f"for {spell(seen.sweep_age)}" if seen.sweep_age else "yet"
        advice = "Dead runs are not found: see that the cluster (manage.py run_cluster) is up."
        found.append(
            Finding("bad", f"No sweep has ended {age}.", advice, "Open sweeps", "jobs_sweep_changelist")
        )
    if seen.unread_queues:
        sentence = f"Queue {', '.join(seen.unread_queues)} can't be read."
        advice = "Its depth is unknown: see the error of the last try."
        found.append(Finding("bad", sentence, advice, "Open queues", "jobs_queuestate_changelist"))
    if seen.overdue:
        advice = "See that the dispatcher runs and SQS answers."
        sentence = f"{_many(seen.overdue, 'message')} should have been sent by now."
        found.append(
            Finding("bad", sentence, advice, "Show messages", "jobs_outbox_changelist", "?state=waiting")
        )
    if (seen.waiting or seen.running) and not seen.workers_alive:
        advice = "Start workers, or see why their heartbeats don't arrive."
        found.append(
            Finding("bad", "No worker is alive.", advice, "Open workers", "jobs_workerheartbeat_changelist")
        )
    return found


_LIMITER_TROUBLES = {
    LimiterTrouble.Kind.STORE_AWAY: (
        "bad",
        "Rate limits are not shared: the store does not answer.",
        "Each process admits its share of a limit until it does.",
    ),
    LimiterTrouble.Kind.UNTRUSTED_PROXY: (
        "warning",
        "A proxy that is not trusted sends client addresses: they are ignored.",
        "If it is yours, name it in OPSCONSOLE_TRUSTED_PROXIES: its clients count as one.",
    ),
    LimiterTrouble.Kind.PROCESSES: (
        "warning",
        "More processes serve than OPSCONSOLE_WEB_PROCESSES says.",
        "While the store is away each would admit too much.",
    ),
}


def _of_the_limiter(seen: Overview) -> list[Finding]:
    page = ("Open the limiter", "ratelimits_limitercontrol_changelist")
    found = [
        Finding(*_LIMITER_TROUBLES[kind], *page)
        for kind in _LIMITER_TROUBLES
        if kind in seen.limiter_troubles
    ]
    if seen.limiter_mode != "enforce":
        sentence = f"All rate limits are switched to {seen.limiter_mode}."
        found.append(Finding("warning", sentence, "Switch them back when the emergency is over.", *page))
    return found


def _of_jobs(seen: Overview, control: RecoveryControl) -> list[Finding]:
    found = []
    if seen.stale and control.armed:
        advice = "The next sweep recovers what may be recovered."
        sentence = f"{runs(seen.stale)} lost {'its' if seen.stale == 1 else 'their'} worker."
        found.append(Finding("warning", sentence, advice, "Show runs", "jobs_job_changelist", "?stale=any"))
    if seen.stale_by_hand:
        advice = "Nothing recovers them by itself: read them, then requeue or cancel."
        sentence = f"{runs(seen.stale_by_hand)} from before the cutoff {'is' if seen.stale_by_hand == 1 else 'are'} stale."
        found.append(Finding("quiet", sentence, advice, "Show runs", "jobs_job_changelist", "?stale=any"))
    if seen.quarantined:
        advice = "Read what happened to it, mend the cause, then release it."
        sentence = f"{_many(seen.quarantined, 'job')} in quarantine."
        found.append(
            Finding("warning", sentence, advice, "Show jobs", "jobs_job_changelist", "?status=quarantined")
        )
    if seen.lost:
        why = (
            "No sweep sends it again by itself (OPSCONSOLE_LOST_RESEND, or workers without epochs)"
            if control.armed
            else "Recovery only observes"
        )
        sentence = f"{_many(seen.lost, 'job')} waiting for a message that is lost."
        advice = f"{why}: read the proof on the job's page, then cancel and requeue."
        found.append(
            Finding("warning", sentence, advice, "Show jobs", "jobs_job_changelist", "?message=lost")
        )
    if seen.in_vain:
        advice = "See that workers of the queue run, then cancel and requeue."
        sentence = f"{_many(seen.in_vain, 'job')} still waiting after {MOST_RESENDS} re-sends of the message."
        found.append(
            Finding("warning", sentence, advice, "Show jobs", "jobs_job_changelist", "?message=used_up")
        )
    if seen.hung:
        advice = "The worker beats, the work may hang: read its notes, then cancel or requeue."
        sentence = f"{runs(seen.hung)} past the deadline."
        found.append(Finding("warning", sentence, advice, "Show runs", "jobs_job_changelist", "?stale=hung"))
    return found


def _of_alerts(seen: Overview) -> list[Finding]:
    if not seen.firing:
        return []
    verb = "alert fires" if seen.firing == 1 else "alerts fire"
    sentence = f"{figure(seen.firing)} {verb}: {seen.worst_alert[:120]}."
    return [Finding("warning", sentence, "Look, then acknowledge.", "Show alerts", "alerts_alert_changelist")]


def runs(count: int) -> str:
    return _many(count, "run")


def _many(count: int, noun: str) -> str:
    return f"{figure(count)} {noun}{'' if count == 1 else 's'}"


def figure(count: int) -> str:
    """A count as shown: exact up to ``COUNTED_TO``, above it "10,000+"."""
    return f"{COUNTED_TO:,}+" if count > COUNTED_TO else f"{count:,}"
