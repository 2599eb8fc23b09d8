"""State changes of CloudWatch alarms, parsed from the text that CloudWatch publishes.

The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

LONGEST_TEXT = 1_000
LONGEST_NAME = 255


class AlarmState(StrEnum):
    ALARM = "ALARM"
    OK = "OK"
    UNKNOWN = "INSUFFICIENT_DATA"


@dataclass(frozen=True, kw_only=True)
class AlarmChange:
    """A change of an alarm to ``state`` at the time ``at``, with the reason that CloudWatch gives."""

    alarm: str
    state: AlarmState
    at: datetime
    why: str
    description: str
    threshold: float | None
    dimensions: tuple[tuple[str, str], ...]


def read(text: str) -> AlarmChange | None:
    """Parse a published text. Return None if it is not an alarm change of CloudWatch."""
    try:
        document = json.loads(text)
        at = datetime.fromisoformat(document["StateChangeTime"])
        return _change(document, at) if at.tzinfo else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _change(document: dict[str, Any], at: datetime) -> AlarmChange:
    trigger = document.get("Trigger") or {}
    threshold = trigger.get("Threshold")
    return AlarmChange(
        alarm=_text(document["AlarmName"], LONGEST_NAME),
        state=AlarmState(document["NewStateValue"]),
        at=at,
        why=_text(document.get("NewStateReason") or "", LONGEST_TEXT),
        description=_text(document.get("AlarmDescription") or "", LONGEST_TEXT),
        threshold=float(threshold) if isinstance(threshold, int | float) else None,
        dimensions=tuple(
            (_text(each["name"], LONGEST_NAME), _text(each["value"], LONGEST_NAME))
            for each in trigger.get("Dimensions") or ()
        )[:5],
    )


def _text(value: str, longest: int) -> str:
    """Return the text on one line, cut to this length. Raise ``AttributeError`` if the value is not a string."""
    return printable(value.strip())[:longest]


def printable(text: str) -> str:
    """Replace invisible characters, which could hide or reorder the visible text."""
    return "".join(character if character.isprintable() else " " for character in text)
