"""The sentences of ``jobs.recovery.outlook``. They promise exactly what a sweep does."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.conf import settings

from jobs.models import RecoveryControl
from jobs.models.worker import stale_after
from jobs.recovery.control import HoldStep
from jobs.recovery.decision import Decision, SweepAction, Why, recoveries
from jobs.recovery.surroundings import Stop, Surroundings
from opsconsole.kit.counting import exactly, plural
from opsconsole.kit.display import clock_time
from opsconsole.kit.durations import spell
from opsconsole.kit.lateness import late_after

_DOES = {SweepAction.REQUEUE: "requeues it", SweepAction.QUARANTINE: "quarantines it"}
# What a sweep does once nothing stops it any more.
_FOR_LATER = {Stop.PAUSED, Stop.HELD}
UNTIL_ARMED = "Sweeps change nothing until somebody arms it."
_HEADLINES = {
    None: "Recovery is armed.",
    Stop.OBSERVING: "Recovery only observes.",
    Stop.PAUSED: "Recovery is armed, but paused.",
    Stop.HELD: "Recovery is armed, but held.",
    Stop.NO_SWEEPS: "Recovery is armed, but no sweep runs.",
    Stop.SCHEDULE_PAUSED: "Recovery is armed, but the schedule of sweeps is paused.",
}


def headline(around: Surroundings) -> str:
    """Say in a few words whether recovery acts."""
    if around.hold_begins:
        return "Recovery is armed, but the next sweep holds it."
    return _HEADLINES[around.stop]


def of_sweeps(around: Surroundings) -> str:
    """Say when sweeps recover the stale runs that may be recovered, and if they don't, why not."""
    if around.stop:
        later = " Sweeps recover nothing before that." if around.stop in _FOR_LATER else ""
        return f"{of_stop(around.stop, around)}{later}"
    if around.overfull:
        return f"Sweeps recover what may be recovered, at most {_most_runs()} each."
    if around.hold_step == HoldStep.NEEDLESS:
        return f"The next sweep ends the hold, because few runs are silent now, and recovers what may be recovered.{_pace(around)}"
    return f"The next sweep recovers what may be recovered.{_pace(around)}"


def of_taken(decision: Decision, around: Surroundings, *, locked: bool = False, refused: str = "") -> str:
    """Say when a sweep requeues or quarantines this run, and that it can't while others have locked the row.

    ``refused``: the rule of the database that refused this in the last sweep that acted.
    """
    if locked:
        return f"Another transaction has locked its row, so sweeps pass it over. The first one after that {_DOES[decision.action]}."
    if refused:
        until = f"{of_stop(around.stop, around)} " if around.stop else ""
        return (
            f"{until}The database refused its recovery in the last sweep that acted, by {refused}. Sweeps that act try again: the "
            f"first one after the rule allows it {_DOES[decision.action]}."
        )
    does = f"{_DOES[decision.action]}{_because(decision)}"
    if around.stop in _FOR_LATER:
        return f"{of_stop(around.stop, around)} A sweep after that {does}, unless its worker sends a heartbeat before."
    if around.stop:
        return of_stop(around.stop, around)
    return _by_the_next_sweep(does, around)


def _by_the_next_sweep(does: str, around: Surroundings) -> str:
    if around.more_in_the_way:
        return (
            "The last sweep found more runs locked by others, or refused by the database, than it remembers, so it is unknown whether "
            f"this is one of them. If it is not, a sweep {does}.{_pace(around)}"
        )
    if around.overfull:
        return f"One of the next sweeps {does}. Each recovers at most {_most_runs()}."
    return f"The next sweep {does}.{_pace(around)}"


def of_left_alone(decision: Decision) -> str:
    """Say why no sweep touches this run."""
    match decision.why:
        case Why.NOT_RUNNING:
            return "It is not running, so there is nothing to recover."
        case Why.HUNG:
            return "Its worker sends heartbeats, so recovery leaves it alone until somebody cancels or requeues it."
        case Why.UNKNOWN:
            return f"{decision.sentence} Recovery leaves it alone{_until_given_up(decision)}. Somebody may requeue or cancel it."
        case Why.ALIVE:
            return "It is not stale, so recovery leaves it alone."
    return decision.sentence


def of_stop(stop: Stop, around: Surroundings) -> str:
    """Say what keeps sweeps from acting, and until when."""
    match stop:
        case Stop.OBSERVING:
            return f"Recovery only observes: {UNTIL_ARMED[0].lower()}{UNTIL_ARMED[1:]}"
        case Stop.SCHEDULE_PAUSED:
            return "The schedule of sweeps is paused: nothing is recovered automatically until somebody resumes it."
        case Stop.NO_SWEEPS:
            away = spell(around.sweepless_for or timedelta(0))
            return (
                f"No sweep has ended for {away}, so nothing is recovered. "
                "Once sweeps run again, silence counts from the first of them."
            )
        case Stop.PAUSED:
            until = clock_time(around.paused_until) if around.paused_until else "somebody resumes it"
            then = f" After that, {_of_hold(around)}" if around.holds_beyond_the_pause else ""
            return f"Recovery is paused until {until}.{then}"
        case Stop.HELD:
            sentence = _of_hold(around)
            return f"{sentence[0].upper()}{sentence[1:]}"


def of_unknown_rule(state: RecoveryControl | Surroundings) -> str:
    """Say what the rule makes of silent runs without evidence that their worker died; it holds whether or not sweeps act."""
    match state.unknown_rule:
        case RecoveryControl.UnknownRule.AFTER if state.unknown_after:
            return f"Unknown runs count as stale after {spell(state.unknown_after)} of silence."
        case RecoveryControl.UnknownRule.VISIBILITY:
            return (
                "Unknown runs count as stale once they were silent for the visibility timeout of their queue."
            )
    return "Unknown runs are left to operators."


def of_unknown_runs(state: RecoveryControl | Surroundings) -> str:
    """Say what becomes of runs that are unknown now, and what to do."""
    by_rule = state.unknown_rule != RecoveryControl.UnknownRule.NEVER
    choose = "" if by_rule else ", or choose a rule for unknown runs on the page Recovery"
    return f"{of_unknown_rule(state)} See whether the workers run, then requeue by hand{choose}."


def of_queues_by_hand(names: Collection[str]) -> str:
    """Say that sweeps recover nothing of these queues; nothing to say where there are none."""
    if not names:
        return ""
    queues = f"{plural(len(names), 'queue')} {', '.join(sorted(names))}"
    return f"Sweeps leave stale runs of the {queues} to operators (OPSCONSOLE_RECOVERY_BY_HAND)."


def _of_hold(around: Surroundings) -> str:
    if around.hold_step == HoldStep.BEGIN:
        return f"the next sweep holds recovery for {spell(stale_after())}, because {exactly(around.mass, 'run')} went silent at once."
    until = clock_time(around.held_until) if around.held_until else "its end"
    return (
        f"recovery is held until {until}, or until somebody releases the hold, "
        f"because {exactly(around.mass, 'run')} went silent at once."
    )


def _because(decision: Decision) -> str:
    match decision.why:
        case Why.USED_UP:
            return f", because it has had {recoveries(decision.run)}"
        case Why.FORGIVEN:
            return f" although it has had {recoveries(decision.run)}, because it went silent together with others"
    return ""


def _until_given_up(decision: Decision) -> str:
    given_up_before = decision.run.given_up_before
    if given_up_before is None:
        return ", because no rule for unknown runs was chosen"
    silent = spell(decision.run.read_at - given_up_before)
    return f". By the rule for unknown runs, it counts as stale after {silent} of silence"


def _pace(around: Surroundings) -> str:
    if around.schedule_paused:
        return " The schedule of sweeps is paused, so none runs automatically."
    if around.sweepless_for is None:
        return " No sweep has ended yet."
    pace = spell(around.sweep_interval)
    if around.sweepless_for > late_after(around.sweep_interval):
        return f" Sweeps should run every {pace}; the last one ended {spell(around.sweepless_for)} ago."
    return f" Sweeps run every {pace}."


def _most_runs() -> str:
    return exactly(settings.OPSCONSOLE_SWEEP_LIMIT, "run")
