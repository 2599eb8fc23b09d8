"""The work of a sender: reminders and monitors, then one message to each channel until nothing is left."""

from __future__ import annotations

import time
from datetime import timedelta

from alerts.notify import monitor_ok
from alerts.sending import addressing, delivery, reminders
from alerts.sending.delivery import DeliveryCounts
from alerts.watch import monitor_alerts

NAME = "alert sender"
INTERVAL = timedelta(minutes=1)
PAUSE_SECONDS = 1.0
# The cluster stops a task after 90 s.
MAX_SECONDS = 45.0


def do_periodic_work() -> None:
    """Create rows of channels, send reminders, end snoozes, judge monitors, and note that a sender runs."""
    addressing.create_missing_channels()
    reminders.remind()
    monitor_ok(NAME, INTERVAL)
    monitor_alerts.judge()


def send_until_idle() -> DeliveryCounts:
    """Send until nothing can be sent at once, or the task's time is used up."""
    do_periodic_work()
    total = DeliveryCounts()
    stop_at = time.monotonic() + MAX_SECONDS
    while time.monotonic() < stop_at:
        counts = delivery.deliver()
        total += counts
        if not counts.posted:
            break
        time.sleep(PAUSE_SECONDS)
    return total
