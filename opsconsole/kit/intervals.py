"""How often sweeps and dead letter checks run: the only place that reads the settings of their intervals.

django-q2 counts in whole minutes. An interval of a minute or more is a schedule of the cluster, rounded down to whole
minutes; a shorter one is a loop beside the cluster. Whoever judges whether such work is late, or whether its absence
was an outage, asks for ``every``: how often it really runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings

MINUTE = 60
# What the cluster runs each minute, by a scheduler that looks twice a minute, may wait as long for other tasks.
EACH_MINUTE = timedelta(minutes=2)


@dataclass(frozen=True)
class Interval:
    """An interval as configured. ``minutes``: those of its schedule; 0 when a loop serves it."""

    seconds: int

    @property
    def minutes(self) -> int:
        return self.seconds // MINUTE

    @property
    def every(self) -> timedelta:
        return timedelta(minutes=self.minutes) if self.minutes else timedelta(seconds=self.seconds)


def of_sweeps() -> Interval:
    return Interval(settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS)


def of_dead_letter_checks() -> Interval:
    return Interval(settings.OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS)
