"""Findings about jobs and their runs, and about decisions that recovery waits for."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.models.outbox import MOST_RESENDS
from jobs.recovery import control, outlook, outlook_wording, resends
from jobs.recovery.surroundings import Stop, Surroundings
from jobs.watch import run_gauges
from opsconsole import switches
from opsconsole.kit.counting import many, plural, runs
from opsconsole.kit.models import Pause
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding

# On whose page the buttons are that the advice names.
JOBS = "jobs.job"
REVIEW = "No sweep recovers them. Review the runs, then requeue or cancel them."


def of_recovery(seen: Overview, around: Surroundings) -> list[Finding]:
    """Return findings that need a decision about recovery: to arm it, or to end a hold."""
    page = "jobs_recoverycontrol_changelist"
    if around.stop == Stop.HELD:
        sentence = f"Recovery is held: {runs(around.mass)} went silent at once."
        advice = control.TO_DECIDE
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
    if seen.stale and around.armed:
        advice = outlook.of_sweeps(around).sentence
        problems.append(_of_runs("warning", f"{_silent(seen.stale)}.", advice, "?stale=recoverable", acts=""))
    if number := seen.unknown:
        sentence = f"{runs(number)} {plural(number, 'is', 'are')} silent, and whether the worker is alive is unknown."
        advice, query = outlook_wording.of_unknown_runs(around), "?stale=unknown_since_cutoff"
        problems.append(_of_runs("warning", sentence, advice, query, rule="unknown_runs"))
    if number := seen.unknown_before_cutoff:
        sentence = f"{runs(number)} from before the cutoff: alive or dead is unknown."
        problems.append(_of_runs("quiet", sentence, REVIEW, "?stale=unknown_before_cutoff"))
    if number := seen.stale_before_cutoff:
        sentence = f"{runs(number)} from before the cutoff {plural(number, 'is', 'are')} stale."
        problems.append(_of_runs("quiet", sentence, REVIEW, "?stale=before_cutoff"))
    if number := seen.stale_by_hand:
        whose, wait = ("its", "waits") if number == 1 else ("their", "wait")
        sentence = f"{runs(number)} lost {whose} worker and {wait} for an operator."
        advice = f"No sweep takes such runs. {run_gauges.DECIDE_BY_HAND}"
        problems.append(_of_runs("warning", sentence, advice, "?stale=by_hand", rule="runs_by_hand"))
    if number := seen.stale_unknown_queue:
        sentence = f"{runs(number)} of queues that are not configured {plural(number, 'is', 'are')} stale."
        advice = "No sweep recovers them. Configure the queue, or cancel them."
        problems.append(_of_runs("warning", sentence, advice, "?stale=unknown_queue"))
    return problems


def _of_runs(
    tone: str, sentence: str, advice: str, query: str, *, rule: str = "", acts: str = JOBS
) -> Finding:
    return Finding(tone, sentence, advice, "Show runs", "jobs_job_changelist", query, rule=rule, acts=acts)


def _of_jobs(
    tone: str, sentence: str, advice: str, query: str, *, rule: str = "", acts: str = JOBS
) -> Finding:
    return Finding(tone, sentence, advice, "Show jobs", "jobs_job_changelist", query, rule=rule, acts=acts)


def _of_lost_messages(seen: Overview, around: Surroundings) -> list[Finding]:
    problems = []
    why = resends.why_none(around, resending=seen.resending)
    if seen.lost and why:
        sentence = f"{many(seen.lost, 'job')} waiting for a lost message."
        by_hand = resends.needs_a_person(around, resending=seen.resending)
        advice = f"{why} {resends.BY_HAND}" if by_hand else why
        acts = JOBS if by_hand else ""
        problems.append(_of_jobs("warning", sentence, advice, "?message=lost_since_cutoff", acts=acts))
    if seen.lost_before_cutoff:
        sentence = (
            f"{many(seen.lost_before_cutoff, 'job')} from before the cutoff waiting for a lost message."
        )
        advice = f"No sweep sends it again. {resends.BY_HAND}"
        problems.append(_of_jobs("quiet", sentence, advice, "?message=lost_before_cutoff"))
    return problems


def of_jobs(seen: Overview, around: Surroundings) -> list[Finding]:
    problems = []
    if seen.quarantined:
        sentence = f"{many(seen.quarantined, 'job')} in quarantine."
        advice = "Read what happened, fix the cause, then release the jobs."
        problems.append(_of_jobs("warning", sentence, advice, "?status=quarantined", rule="quarantined_jobs"))
    problems += _of_lost_messages(seen, around)
    if seen.in_vain:
        sentence = f"{many(seen.in_vain, 'job')} still waiting after {MOST_RESENDS} re-sends of the message."
        advice = "Check that workers of the queue run, then cancel and requeue."
        problems.append(_of_jobs("warning", sentence, advice, "?message=used_up"))
    if seen.hung:
        sentence = f"{runs(seen.hung)} past the deadline."
        advice = "The worker is alive, but the work may hang. Read its notes, then cancel or requeue."
        problems.append(_of_runs("warning", sentence, advice, "?stale=hung", rule="hung_runs"))
    return problems
