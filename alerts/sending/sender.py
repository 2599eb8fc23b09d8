"""A sender's turns: what time brings about, then a message to each channel, again and again."""

from __future__ import annotations

import time
from datetime import timedelta

from alerts.notify import monitor_ok
from alerts.sending import delivery, reminders
from alerts.sending.delivery import Passed
from alerts.watch import monitors

NAME = "alert sender"
EVERY = timedelta(minutes=1)
PAUSE_SECONDS = 1.0
# The cluster ends a task that takes longer than 90 s.
LONGEST_SECONDS = 45.0


def look_at_the_clock() -> None:
    """Reminders, snoozes that end, monitors that are late; and that there is a sender."""
    reminders.remind()
    monitor_ok(NAME, EVERY)
    monitors.judge()


def until_quiet() -> Passed:
    """Send until nothing can be sent at once, or the time of a task is used up."""
    look_at_the_clock()
    total = Passed()
    stop_at = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < stop_at:
        passed = delivery.deliver()
        total += passed
        if not passed.posted:
            break
        time.sleep(PAUSE_SECONDS)
    return total
