"""Test messages sent to channels and delivered at once, for whoever waits for the answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from alerts.models import Delivery
from alerts.sending import channel_test, delivery

MAX_WAIT_SECONDS = 30.0
PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Tried:
    """What a channel answered to its test."""

    channel: str
    delivered: bool
    answer: str


def send_to(names: Sequence[str], who: str) -> list[Tried]:
    """Send a test to each of these channels, and return their answers. Raise ``UnknownChannel`` if there is none of a name."""
    rows = [channel_test.send(name, who) for name in names]
    _deliver(rows)
    return [_answer_of(name, row) for name, row in zip(names, rows, strict=True)]


def _deliver(rows: Sequence[Delivery]) -> None:
    """Deliver until each test was attempted. Other waiting notifications are sent as well."""
    untried = Delivery.objects.filter(pk__in=[row.pk for row in rows], attempts=None)
    stop_at = time.monotonic() + MAX_WAIT_SECONDS
    delivery.deliver()
    while untried.exists() and time.monotonic() < stop_at:
        time.sleep(PAUSE_SECONDS)
        delivery.deliver()


def _answer_of(name: str, row: Delivery) -> Tried:
    row.refresh_from_db()
    answer = str(row.attempts.last() or "not attempted yet; the test waits for its channel")
    return Tried(name, row.state == Delivery.State.SENT, answer)
