"""Badges of dead letters and failure groups: the state, what became of replays, and the time that is left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.admin import labels
from jobs.bulk import letter_actions
from jobs.dead_letters.replay_results import Followed, ReplayResult
from jobs.models import DeadLetter
from jobs.models.dead_letter import EXPIRES_SOON
from opsconsole.kit.display import NOTHING, badge, moment, rough

STATE_TONES: dict[str, str] = {
    DeadLetter.State.IN_QUEUE: "bad",
    DeadLetter.State.REPLAYING: "running",
    DeadLetter.State.OUTCOME_UNKNOWN: "warning",
    DeadLetter.State.KEPT: "waiting",
}


def state(letter: DeadLetter, followed: Followed | None, *, linked: bool = True) -> SafeString:
    """Return the state of the letter; of one that was replayed also what became of it, since sending is no success.

    ``linked``: with a link to the letter as which it failed again.
    """
    label = letter.get_state_display().capitalize()
    if letter.state != DeadLetter.State.REPLAYED or followed is None:
        return badge(label, STATE_TONES.get(letter.state, "quiet"))
    result = letter_actions.result(followed.result, followed.again if linked else None)
    return labels.result(result, "jobs_deadletter", f"{label}, {result.label.lower()}")


def receives(letter: DeadLetter) -> str:
    """Return how often others received the letter; the console's own views, which SQS counts too, are told apart."""
    by_others = max(0, letter.receive_count - letter.views)
    by_workers = f"{by_others:,} by workers" if by_others else "none by workers"
    return f"{by_workers}, {letter.views:,} by the console" if letter.views else by_workers


def results(counts: Mapping[ReplayResult, int]) -> SafeString:
    """Return a badge per result with the number of replayed letters that have it."""
    shown = [(each, counts[each]) for each in ReplayResult if counts.get(each)]
    badges = (
        (badge(f"{count:,} {each.label.lower()}", letter_actions.result(each).tone),) for each, count in shown
    )
    return format_html_join("", "{}", badges) if shown else NOTHING


def returns(letter: DeadLetter) -> SafeString:
    """Return a badge with how often the letter came back after a replay."""
    if not letter.returns:
        return SafeString("")
    times = {1: "once", 2: "twice"}.get(letter.returns, f"{letter.returns} times")
    return badge(f"Came back {times}", "warning")


def time_left(letter: DeadLetter, now: datetime) -> SafeString:
    """Show the time until SQS deletes the letter; red within the last day."""
    if letter.state != DeadLetter.State.IN_QUEUE or letter.expires_at is None:
        return NOTHING
    left = letter.expires_at - now
    if left <= timedelta(0):
        return format_html('<span class="soon">{}</span>', moment(letter.expires_at, "any moment"))
    words = moment(letter.expires_at, f"in {rough(left)}")
    return format_html('<span class="soon">{}</span>', words) if left < EXPIRES_SOON else words
