"""What became of a post, in the words of every channel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from alerts.models import Attempt

Outcome = Attempt.Outcome
ANSWER_LENGTH = 300


@dataclass(frozen=True)
class Answer:
    """``text``: the vendor's words, without secrets. ``retry_after``: how long it wants to be left alone."""

    outcome: Attempt.Outcome
    text: str
    retry_after: timedelta | None = None
