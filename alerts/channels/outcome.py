"""The outcome of a post, in terms that all channels share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from alerts.models import Attempt

Outcome = Attempt.Outcome
ANSWER_LENGTH = 300


@dataclass(frozen=True)
class ChannelAnswer:
    """``text``: the vendor's answer, without secrets. ``retry_after``: how long the vendor wants no further posts."""

    outcome: Attempt.Outcome
    text: str
    retry_after: timedelta | None = None
