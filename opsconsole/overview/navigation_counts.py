"""What the navigation counts, and the lists of exactly that: alerts that fire, and the open dead letters."""

from __future__ import annotations

from typing import NamedTuple

from alerts.models import Alert
from jobs.models import DeadLetter
from opsconsole.kit.counting import count, figure
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview.current_figures import KEPT_SECONDS, Overview
from opsconsole.overview.memory import memory

ALERTS, LETTERS = "Alerts", "Dead letters"
WHAT = {ALERTS: "firing", LETTERS: DeadLetter.OPEN_LABEL}
# Of the list of an entry: at first, that of alerts also shows those that are acknowledged or snoozed.
QUERIES = {ALERTS: "?state=firing", LETTERS: ""}


class Counted(NamedTuple):
    """A figure as shown, what it counts, and the query of the list that shows exactly that."""

    figure: str
    what: str
    query: str


def for_user(user: Person) -> dict[str, Counted]:
    """Return the counts that are not zero, by the name of the entry, for those who may open its list."""
    pages = {ALERTS: "alerts_alert", LETTERS: "jobs_deadletter"}
    return {
        name: Counted(figure(number), WHAT[name], QUERIES[name])
        for name, number in _counts().items()
        if number and may_see(user, pages[name])
    }


def _counts() -> dict[str, int]:
    """Return the counts of the overview if it was read just now, at most ``KEPT_SECONDS`` old."""
    seen: Overview | None = memory.get("overview")
    if seen is not None:
        return {ALERTS: seen.firing, LETTERS: seen.open_letters}
    kept: dict[str, int] | None = memory.get("navigation")
    if kept is None:
        kept = {ALERTS: count(Alert.objects.firing()), LETTERS: count(DeadLetter.objects.open())}
        memory.set("navigation", kept, KEPT_SECONDS)
    return kept
