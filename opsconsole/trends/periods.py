"""The ranges of the page: how long each is, and the bars that it is drawn with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.models.run_rollup import DAY, FIVE_MINUTES, HOUR, SIX_HOURS
from opsconsole.kit.postgresql.timestamps import begin_of


def start_of(at: datetime, minutes: int) -> datetime:
    """Return when the rollup of this length began in which this time is: in UTC, so that days begin at midnight."""
    return begin_of(at, timedelta(minutes=minutes))


@dataclass(frozen=True)
class Period:
    """So many bars of so many minutes, of which the last one has not ended. ``time_format``: of a bar's start."""

    short: str
    label: str
    minutes: int
    bars: int
    time_format: str

    @property
    def step(self) -> timedelta:
        return timedelta(minutes=self.minutes)

    def starts(self, now: datetime) -> list[datetime]:
        """Return the start of each bar, oldest first."""
        last = start_of(now, self.minutes)
        return [last - self.step * back for back in range(self.bars - 1, -1, -1)]

    def before(self, start: datetime) -> datetime:
        """Return the start of the bar of the period before that is drawn behind this one."""
        return start - self.step * self.bars


PERIODS: Mapping[str, Period] = {
    "hour": Period("1 h", "the last hour", FIVE_MINUTES, 12, "%H:%M"),
    "day": Period("24 h", "the last 24 hours", HOUR, 24, "%H:%M"),
    "week": Period("7 d", "the last 7 days", SIX_HOURS, 28, "%a %H:%M"),
    "month": Period("30 d", "the last 30 days", DAY, 30, "%d %b"),
}
DEFAULT_PERIOD = "day"
