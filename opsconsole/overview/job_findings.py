"""Findings about jobs and their runs, and about decisions that recovery waits for."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.models.outbox import MOST_RESENDS
from jobs.recovery import outlook, outlook_wording, resends
from jobs.recovery.surroundings import Stop, Surroundings
from opsconsole import switches
from opsconsole.kit.counting import many, runs
from opsconsole.kit.models import Pause
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding

# On whose page the buttons are that the advice names.
JOBS = "jobs.job"


def of_recovery(seen: Overview, around: Surroundings) -> list[Finding]:
    """Return findings that need a decision about recovery: to arm it, or to end a hold."""
    page = "jobs_recoverycontrol_changelist"
    if around.stop == Stop.HELD:
        sentence = f"Recovery is held: {runs(around.mass)} went silent at once."
        advice = "Check whether the workers are alive, then release the hold or let it end."
        if around.hold_begins:
            sentence = f"{runs(around.mass)} went silent at once: the next sweep holds recovery."
            advice = "Check whether the workers are alive. Once recovery is held, you can release the hold."
        acts = "jobs.recoverycontrol"
        return [Finding("bad", sentence, advice, "Open recovery", page, rule="mass_staleness", acts=acts)]
    if not around.armed:
        sentence = f"Recovery only observes: {_silent(seen.stale)}."
        advice = outlook_wording.UNTIL_ARMED
        return [Finding("warning" if seen.stale else "quiet", sentence, advice, "Open recovery", page)]
    return []


def _silent(stale: int) -> str:
    """Name the runs without saying what recovery would do: the database may refuse some."""
    return f"{runs(stale)} lost {'its' if stale == 1 else 'their'} worker"


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


def of_stale_runs(seen: Overview, around: Surroundings) -> list[Finding]:
    problems = []
    page = ("Show runs", "jobs_job_changelist")
    if seen.stale and around.armed:
        sentence = f"{_silent(seen.stale)}."
        problems.append(
            Finding("warning", sentence, outlook.of_sweeps(around).sentence, *page, "?stale=recoverable")
        )
    if seen.unknown:
        verb = "is" if seen.unknown == 1 else "are"
        sentence = f"{runs(seen.unknown)} {verb} silent, and whether the worker is alive is unknown."
        advice = outlook_wording.of_unknown_runs(around)
        problems.append(
            Finding(
                "warning",
                sentence,
                advice,
                *page,
                "?stale=unknown_since_cutoff",
                rule="unknown_runs",
                acts=JOBS,
            )
        )
    if seen.unknown_before_cutoff:
        sentence = f"{runs(seen.unknown_before_cutoff)} from before the cutoff: alive or dead is unknown."
        advice = "No sweep recovers them. Review the runs, then requeue or cancel them."
        problems.append(Finding("quiet", sentence, advice, *page, "?stale=unknown_before_cutoff", acts=JOBS))
    if seen.stale_before_cutoff:
        number = seen.stale_before_cutoff
        sentence = f"{runs(number)} from before the cutoff {_are(number)} stale."
        advice = "No sweep recovers them. Review the runs, then requeue or cancel them."
        problems.append(Finding("quiet", sentence, advice, *page, "?stale=before_cutoff", acts=JOBS))
    if seen.stale_by_hand:
        whose, wait = ("its", "waits") if seen.stale_by_hand == 1 else ("their", "wait")
        sentence = f"{runs(seen.stale_by_hand)} lost {whose} worker and {wait} for an operator."
        advice = "No sweep takes such runs. See what was done already, then requeue or cancel."
        problems.append(
            Finding("warning", sentence, advice, *page, "?stale=by_hand", rule="runs_by_hand", acts=JOBS)
        )
    if seen.stale_unknown_queue:
        number = seen.stale_unknown_queue
        sentence = f"{runs(number)} of queues that are not configured {_are(number)} stale."
        advice = "No sweep recovers them. Configure the queue, or cancel them."
        problems.append(Finding("warning", sentence, advice, *page, "?stale=unknown_queue", acts=JOBS))
    return problems


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _of_lost_messages(seen: Overview, around: Surroundings) -> list[Finding]:
    page = ("Show jobs", "jobs_job_changelist")
    problems = []
    why = resends.why_none(around, resending=seen.resending)
    if seen.lost and why:
        sentence = f"{many(seen.lost, 'job')} waiting for a lost message."
        by_hand = resends.needs_a_person(around, resending=seen.resending)
        advice = f"{why} {resends.BY_HAND}" if by_hand else why
        problems.append(
            Finding(
                "warning", sentence, advice, *page, "?message=lost_since_cutoff", acts=JOBS if by_hand else ""
            )
        )
    if seen.lost_before_cutoff:
        sentence = (
            f"{many(seen.lost_before_cutoff, 'job')} from before the cutoff waiting for a lost message."
        )
        advice = f"No sweep sends it again. {resends.BY_HAND}"
        problems.append(Finding("quiet", sentence, advice, *page, "?message=lost_before_cutoff", acts=JOBS))
    return problems


def of_jobs(seen: Overview, around: Surroundings) -> list[Finding]:
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
                acts=JOBS,
            )
        )
    problems += _of_lost_messages(seen, around)
    if seen.in_vain:
        advice = "Check that workers of the queue run, then cancel and requeue."
        sentence = f"{many(seen.in_vain, 'job')} still waiting after {MOST_RESENDS} re-sends of the message."
        problems.append(
            Finding(
                "warning", sentence, advice, "Show jobs", "jobs_job_changelist", "?message=used_up", acts=JOBS
            )
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
                acts=JOBS,
            )
        )
    return problems
