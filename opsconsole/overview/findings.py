"""Findings: what the figures mean, what to do first, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.urls import reverse

from alerts.models.alert import Severity
from jobs.models.outbox import MOST_RESENDS
from jobs.recovery import outlook, refused_runs
from jobs.recovery.surroundings import Stop, Surroundings
from jobs.watch import refused_claims
from opsconsole import switches
from opsconsole.kit.counting import many, runs
from opsconsole.kit.durations import spell
from opsconsole.kit.models import Pause
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview.current_figures import FiringAlert, Overview
from ratelimits.models import LimiterTrouble

# The pages that the overview quotes, with its findings.
PAGES = (
    "jobs_job",
    "jobs_workerheartbeat",
    "jobs_deadletter",
    "jobs_sweep",
    "jobs_outbox",
    "jobs_queuestate",
    "jobs_recoverycontrol",
    "opsconsole_pause",
    "alerts_alert",
    "alerts_monitor",
    "alerts_channel",
    "ratelimits_ratelimithour",
    "ratelimits_limitercontrol",
    "admin_logentry",
)

MOST_OF_A_TITLE = 120


@dataclass(frozen=True)
class Finding:
    """One thing that an operator should know, with the page where it can be settled: a list, or the row ``key``.

    ``rule``: the alert rule about the same thing. ``alert``: its alert that fires, for those who may not see this.
    """

    tone: str
    sentence: str
    advice: str
    where: str
    link: str
    query: str = ""
    # Further pages that the sentence quotes.
    quotes: tuple[str, ...] = ()
    key: int | None = None
    rule: str = ""
    alert: Finding | None = None

    def is_for(self, user: Person) -> bool:
        """Tell whether this person may open every page that the finding quotes."""
        page, _, _ = self.link.rpartition("_")
        return all(may_see(user, each) for each in (page, *self.quotes))

    def for_user(self, user: Person) -> Finding | None:
        """Return what this person may see of it: itself, its alert, or nothing."""
        if self.is_for(user):
            return self
        return self.alert if self.alert and self.alert.is_for(user) else None

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.link}", args=[] if self.key is None else [self.key]) + self.query


def findings(seen: Overview, around: Surroundings) -> list[Finding]:
    """Return what needs attention, most urgent first; empty when all is well.

    Critical alerts come first, then that nobody can be told. What an alert and a figure both say is said once.
    """
    known = [
        *of_recovery(seen, around),
        *_of_the_machine(seen),
        *_of_the_task_queue(seen),
        *of_the_limiter(seen),
        *_of_stale_runs(seen, around),
        *_of_jobs(seen, around),
    ]
    alerts = {each: _of_alert(each, seen) for each in seen.firing_alerts}
    by_rule = {each.rule: of_alert for each, of_alert in alerts.items() if each.rule}
    known = [replace(each, alert=by_rule.get(each.rule)) for each in known]
    critical_rules = {each.rule for each in alerts if each.severity == Severity.CRITICAL}
    urgent = [replace(each, tone="bad") for each in known if each.alert and each.rule in critical_rules]
    told = {each.rule for each in known}
    alone = [of_alert for each, of_alert in alerts.items() if each.rule not in told or not each.rule]
    critical = [each for each in alone if each.tone == "bad"]
    untold = _of_channels(seen)
    return [
        *critical,
        *urgent,
        *(each for each in untold if each.tone == "bad"),
        *(each for each in known if not (each.alert and each.rule in critical_rules)),
        *(each for each in untold if each.tone != "bad"),
        *(each for each in alone if each.tone != "bad"),
        *_of_more_alerts(seen),
    ]


def of_recovery(seen: Overview, around: Surroundings) -> list[Finding]:
    """Return findings that need a decision about recovery: to arm it, or to end a hold."""
    page = "jobs_recoverycontrol_changelist"
    if around.standstill == Stop.HELD:
        sentence = f"Recovery is held: {runs(around.mass)} went silent at once."
        if around.hold_begins:
            sentence = f"{runs(around.mass)} went silent at once: the next sweep holds recovery."
        advice = "Check whether the workers are alive, then release the hold or let it end."
        return [Finding("bad", sentence, advice, "Open recovery", page, rule="mass_staleness")]
    if not around.armed:
        sentence = f"Recovery only observes: {runs(seen.stale)} would be recovered."
        advice = "Sweeps change nothing until somebody arms it."
        return [Finding("warning" if seen.stale else "quiet", sentence, advice, "Review and arm", page)]
    return []


def of_switches(pauses_now: Iterable[Pause] | None = None) -> list[Finding]:
    """Return findings about active pauses, those given or those of this moment."""
    return [
        Finding(
            "warning",
            switches.sentence(switch, pause),
            switch.advice,
            "Open controls",
            "opsconsole_pause_changelist",
        )
        for switch, pause in switches.in_force(pauses_now)
    ]


def _of_the_machine(seen: Overview) -> list[Finding]:
    problems = []
    if seen.sweep_is_late:
        age = f"for {spell(seen.sweep_age)}" if seen.sweep_age else "yet"
        advice = "Dead runs are not found. Check that the cluster (manage.py run_cluster) is running."
        problems.append(
            Finding("bad", f"No sweep has ended {age}.", advice, "Open sweeps", "jobs_sweep_changelist")
        )
    if seen.locked_runs:
        sentence, advice = seen.locked_runs.sentence(seen.read_at), seen.locked_runs.advice
        problems.append(
            Finding(
                "bad", sentence, advice, "Show runs", "jobs_job_changelist", "?stale=any", rule="locked_runs"
            )
        )
    if seen.refused_runs:
        problems.append(
            Finding(
                "bad",
                seen.refused_runs.sentence,
                refused_runs.ADVICE,
                "Open recovery",
                "jobs_recoverycontrol_changelist",
                rule="refused_runs",
            )
        )
    if seen.refused_claims and seen.refused_claims.count:
        sentence, page = seen.refused_claims.sentence, ("jobs_job_changelist", "?status=waiting")
        problems.append(
            Finding("bad", sentence, refused_claims.ADVICE, "Show jobs", *page, rule="refused_claims")
        )
    if seen.unread_queues:
        sentence = f"Queue {', '.join(seen.unread_queues)} can't be read."
        advice = "Its depth is unknown. See the error of the last reading."
        problems.append(
            Finding(
                "bad", sentence, advice, "Open queues", "jobs_queuestate_changelist", rule="queue_unreadable"
            )
        )
    if seen.overdue:
        advice = "Check that the dispatcher runs and SQS answers."
        sentence = f"{many(seen.overdue, 'message')} should have been sent by now."
        problems.append(
            Finding(
                "bad",
                sentence,
                advice,
                "Show messages",
                "jobs_outbox_changelist",
                "?state=overdue",
                rule="outbox_stuck",
            )
        )
    if seen.clocks_off:
        sentence = f"{many(seen.clocks_off, 'worker has a wrong clock', 'workers have a wrong clock')}."
        advice = "Their heartbeats count from when the console sees them change. Set the clocks."
        problems.append(
            Finding(
                "warning",
                sentence,
                advice,
                "Open workers",
                "jobs_workerheartbeat_changelist",
                rule="worker_clocks",
            )
        )
    if seen.without_workers:
        advice = "Start workers, or find out why their heartbeats don't arrive."
        sentence = f"{many(seen.without_workers, 'job waits', 'jobs wait')} and no worker is alive."
        workers = "jobs_workerheartbeat_changelist"
        problems.append(
            Finding(
                "bad", sentence, advice, "Open workers", workers, quotes=("jobs_job",), rule="no_live_worker"
            )
        )
    return problems


def _of_the_task_queue(seen: Overview) -> list[Finding]:
    """Return findings about rows that the cluster refuses. The console writes no such rows."""
    problems = []
    advice = "Somebody else writes to the task tables. Find out who can, and change that password."
    if seen.refused_tasks:
        sentence = f"{many(seen.refused_tasks, 'queued task was', 'queued tasks were')} refused: not signed by this console."
        problems.append(Finding("bad", sentence, advice, "Show tasks", "django_q_ormq_changelist"))
    if seen.refused_schedules:
        sentence = (
            f"{many(seen.refused_schedules, 'schedule is', 'schedules are')} refused: not in the task table."
        )
        advice = (
            "Run python manage.py sync_schedules, as after an upgrade. If some are still refused, somebody else writes to "
            "the task tables."
        )
        problems.append(Finding("bad", sentence, advice, "Show schedules", "django_q_schedule_changelist"))
    return problems


LIMITER_TROUBLES = {
    LimiterTrouble.Kind.STORE_AWAY: (
        "bad",
        "Rate limits are not shared: the store does not answer.",
        "Each process admits its share of a limit until it does.",
    ),
    LimiterTrouble.Kind.UNTRUSTED_PROXY: (
        "warning",
        "An untrusted proxy sends client addresses, which are ignored.",
        "If the proxy is yours, name it in OPSCONSOLE_TRUSTED_PROXIES. Until then all its clients count as one.",
    ),
    LimiterTrouble.Kind.UNREAD_HEADER: (
        "warning",
        "A trusted proxy sends client addresses in a header that is not read.",
        "If your proxies overwrite it, set OPSCONSOLE_FORWARDED_HEADER. Until then all their clients count as one.",
    ),
    LimiterTrouble.Kind.HIDDEN_PEER: (
        "warning",
        "The web server hides who connects, so no proxy is trusted.",
        "Sign-in by a header is off, and all clients behind a proxy count as one. Use gunicorn, or uvicorn alone.",
    ),
    LimiterTrouble.Kind.PROCESSES: (
        "warning",
        "More processes serve than OPSCONSOLE_WEB_PROCESSES says.",
        "While the store is away, the processes together would admit too much.",
    ),
    LimiterTrouble.Kind.EVICTION: (
        "warning",
        "The rate limit store deletes counts when its memory is full.",
        "Set its maxmemory-policy to noeviction, or give the limiter a store of its own.",
    ),
}


def of_the_limiter(seen: Overview) -> list[Finding]:
    page = ("Open the limiter", "ratelimits_limitercontrol_changelist")
    problems = [
        Finding(*LIMITER_TROUBLES[kind], *page) for kind in LIMITER_TROUBLES if kind in seen.limiter_troubles
    ]
    if seen.limiter_mode != "enforce":
        sentence = f"All rate limits are switched to {seen.limiter_mode}."
        problems.append(Finding("warning", sentence, "Switch them back when the emergency is over.", *page))
    return problems


def _of_stale_runs(seen: Overview, around: Surroundings) -> list[Finding]:
    problems = []
    page = ("Show runs", "jobs_job_changelist", "?stale=any")
    if seen.stale and around.armed:
        sentence = f"{runs(seen.stale)} lost {'its' if seen.stale == 1 else 'their'} worker."
        problems.append(Finding("warning", sentence, outlook.of_sweeps(around).sentence, *page))
    if seen.unknown:
        verb = "is" if seen.unknown == 1 else "are"
        sentence = f"{runs(seen.unknown)} {verb} silent, and whether the worker is alive is unknown."
        advice = "See whether the worker runs, then requeue by hand, or choose a rule for unknown runs on the page Recovery."
        problems.append(
            Finding("warning", sentence, advice, "Show runs", page[1], "?stale=unknown", rule="unknown_runs")
        )
    if seen.unknown_before_cutoff:
        sentence = f"{runs(seen.unknown_before_cutoff)} from before the cutoff: alive or dead is unknown."
        advice = "No sweep recovers them. Review the runs, then requeue or cancel them."
        problems.append(Finding("quiet", sentence, advice, "Show runs", page[1], "?stale=unknown"))
    if seen.stale_before_cutoff:
        number = seen.stale_before_cutoff
        sentence = f"{runs(number)} from before the cutoff {_are(number)} stale."
        advice = "No sweep recovers them. Review the runs, then requeue or cancel them."
        problems.append(Finding("quiet", sentence, advice, *page))
    if seen.stale_unknown_queue:
        number = seen.stale_unknown_queue
        sentence = f"{runs(number)} of queues that are not configured {_are(number)} stale."
        advice = "No sweep recovers them. Configure the queue, or cancel them."
        problems.append(Finding("warning", sentence, advice, *page))
    return problems


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _of_jobs(seen: Overview, around: Surroundings) -> list[Finding]:
    problems = []
    if seen.quarantined:
        advice = "Read what happened, fix the cause, then release the jobs."
        sentence = f"{many(seen.quarantined, 'job')} in quarantine."
        problems.append(
            Finding(
                "warning",
                sentence,
                advice,
                "Show jobs",
                "jobs_job_changelist",
                "?status=quarantined",
                rule="quarantined_jobs",
            )
        )
    if seen.lost:
        why = (
            "No sweep re-sends it (OPSCONSOLE_LOST_RESEND, or workers without epochs)"
            if around.armed
            else "Recovery only observes"
        )
        sentence = f"{many(seen.lost, 'job')} waiting for a lost message."
        advice = f"{why}: read the proof on the job's page, then cancel and requeue the job."
        problems.append(
            Finding("warning", sentence, advice, "Show jobs", "jobs_job_changelist", "?message=lost")
        )
    if seen.in_vain:
        advice = "Check that workers of the queue run, then cancel and requeue."
        sentence = f"{many(seen.in_vain, 'job')} still waiting after {MOST_RESENDS} re-sends of the message."
        problems.append(
            Finding("warning", sentence, advice, "Show jobs", "jobs_job_changelist", "?message=used_up")
        )
    if seen.hung:
        advice = "The worker is alive, but the work may hang. Read its notes, then cancel or requeue."
        sentence = f"{runs(seen.hung)} past the deadline."
        problems.append(
            Finding(
                "warning",
                sentence,
                advice,
                "Show runs",
                "jobs_job_changelist",
                "?stale=hung",
                rule="hung_runs",
            )
        )
    return problems


def _of_alert(alert: FiringAlert, seen: Overview) -> Finding:
    tone = "bad" if alert.severity == Severity.CRITICAL else "warning"
    return Finding(
        tone,
        f"{_present(alert, seen)[:MOST_OF_A_TITLE].rstrip('.')}.",
        "Look at it, then acknowledge it.",
        "Open alert",
        "alerts_alert_change",
        key=alert.key,
    )


def _present(alert: FiringAlert, seen: Overview) -> str:
    """Return the title of an alert, with the figure of now where the overview shows it."""
    depth = seen.dead_letters_by_queue.get(alert.scope) if alert.rule == "dlq_not_empty" else None
    return alert.title if depth is None else f"{many(depth, 'dead letter')} ({alert.scope})"


def _of_more_alerts(seen: Overview) -> list[Finding]:
    more = seen.firing - len(seen.firing_alerts)
    if not more:
        return []
    sentence = f"{many(more, 'more alert fires', 'more alerts fire')}."
    page = ("Show alerts", "alerts_alert_changelist", "?state=firing")
    return [Finding("warning", sentence, "Look at them, then acknowledge them.", *page)]


def _of_channels(seen: Overview) -> list[Finding]:
    if seen.untold is None:
        return []
    tone = "bad" if seen.untold.nobody else "warning"
    return [
        Finding(tone, seen.untold.sentence, seen.untold.advice, "Open channels", "alerts_channel_changelist")
    ]
