"""What CloudWatch says of an alarm that changed, read from the text that it publishes. Pure.

Its shape: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

LONGEST_TEXT = 1_000
LONGEST_NAME = 255


class State(StrEnum):
    ALARM = "ALARM"
    OK = "OK"
    UNKNOWN = "INSUFFICIENT_DATA"


@dataclass(frozen=True, kw_only=True)
class Change:
    """An alarm that is now in ``state`` since ``at``, with CloudWatch's own sentence why."""

    alarm: str
    state: State
    at: datetime
    why: str
    description: str
    threshold: float | None
    about: tuple[tuple[str, str], ...]


def read(text: str) -> Change | None:
    """The change that was published, or None when this is nothing of CloudWatch's."""
    try:
        said = json.loads(text)
        at = datetime.fromisoformat(said["StateChangeTime"])
        return _change(said, at) if at.tzinfo else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _change(said: dict[str, Any], at: datetime) -> Change:
    trigger = said.get("Trigger") or {}
    threshold = trigger.get("Threshold")
    return Change(
        alarm=_text(said["AlarmName"], LONGEST_NAME),
        state=State(said["NewStateValue"]),
        at=at,
        why=_text(said.get("NewStateReason") or "", LONGEST_TEXT),
        description=_text(said.get("AlarmDescription") or "", LONGEST_TEXT),
        threshold=float(threshold) if isinstance(threshold, int | float) else None,
        about=tuple(
            (_text(each["name"], LONGEST_NAME), _text(each["value"], LONGEST_NAME))
            for each in trigger.get("Dimensions") or ()
        )[:5],
    )


def _text(value: str, longest: int) -> str:
    """On one line, and no longer than that. Raises ``AttributeError`` for what is no text."""
    return printable(value.strip())[:longest]


def printable(text: str) -> str:
    """Without characters that are not shown: they could hide or reorder what is."""
    return "".join(character if character.isprintable() else " " for character in text)
