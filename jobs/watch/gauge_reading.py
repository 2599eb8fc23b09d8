"""What a gauge tells its alert rule: a value, or why there is none, and the words with it."""

from __future__ import annotations

from dataclasses import dataclass

from alerts.notify import UNTITLED, Trouble
from opsconsole.kit import addresses


@dataclass(frozen=True)
class Reading:
    """A figure for its rule, and the words with it. A ``value`` of None is unknown, for the reason ``why_unknown``."""

    value: float | None
    words: Trouble = UNTITLED
    why_unknown: str = ""


def list_of(model: str, query: str = "") -> str:
    """Return the path of a list of the jobs app."""
    return addresses.of_list(f"jobs_{model}") + query
