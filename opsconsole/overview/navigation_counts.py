"""What the navigation counts: alerts that fire, and dead letters that wait for a decision."""

from __future__ import annotations

from alerts.models import Alert
from jobs.models import DeadLetter
from opsconsole.kit.counting import count, figure
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview.current_figures import KEPT_SECONDS, Overview
from opsconsole.overview.memory import memory

ALERTS, LETTERS = "Alerts", "Dead letters"


def for_user(user: Person) -> dict[str, str]:
    """Return the counts that are not zero, by the name of the entry, for those who may open its list."""
    pages = {ALERTS: "alerts_alert", LETTERS: "jobs_deadletter"}
    return {
        name: figure(number) for name, number in _counts().items() if number and may_see(user, pages[name])
    }


def _counts() -> dict[str, int]:
    """Return the counts of the overview if it was read just now, at most ``KEPT_SECONDS`` old."""
    seen: Overview | None = memory.get("overview")
    if seen is not None:
        return {ALERTS: seen.firing, LETTERS: seen.letters}
    kept: dict[str, int] | None = memory.get("navigation")
    if kept is None:
        kept = {ALERTS: count(Alert.objects.firing()), LETTERS: count(DeadLetter.objects.present())}
        memory.set("navigation", kept, KEPT_SECONDS)
    return kept
