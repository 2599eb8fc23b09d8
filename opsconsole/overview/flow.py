"""How work flows: jobs that arrive, wait, run, are done and fail, each with its last day and the day before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opsconsole.kit import charts, figures
from opsconsole.kit.charts import Sparkline
from opsconsole.kit.counting import figure
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview import slow_rows
from opsconsole.overview.charts_and_events import ARRIVED_ANCHOR, OUTCOMES_ANCHOR, READINGS_ANCHOR
from opsconsole.overview.current_figures import Overview
from opsconsole.overview.memory import SLOW_KEPT_SECONDS, memory
from opsconsole.overview.slow_rows import ARRIVED, RUNNING, WAITING

HOURS = figures.HOURS
# The names of the hourly figures; the sum of readings has no meaning.
DONE, FAILED = "jobs completed", "jobs failed"
READINGS = {WAITING, RUNNING}


@dataclass(frozen=True)
class Course:
    """A figure's hours: the line, the value of the last day, and that of the day before; None: unknown."""

    line: Sparkline
    last_day: int | None
    day_before: int | None


@dataclass(frozen=True)
class FlowStep:
    """One figure of the flow. ``query``: of the list of jobs that it counts, or '' where only the chart tells them apart.

    ``anchor``: of the chart of its hours, whose bars open what they count. ``since``: the full hour from which on it counts,
    '' where it is exact to the minute.
    """

    label: str
    shown: str
    query: str
    course: Course
    anchor: str
    tone: str = ""
    since: str = ""

    @property
    def before(self) -> str:
        """Return in words from when on it counts, and yesterday's figure, if it is known."""
        yesterday = "" if self.course.day_before is None else f"yesterday {self.course.day_before:,}"
        return ", ".join(filter(None, [self.since, yesterday]))


def steps(seen: Overview, user: Person) -> list[FlowStep]:
    """Return the steps of the flow for those who may see jobs."""
    if not may_see(user, "jobs_job"):
        return []
    of = _courses()
    done = of[DONE].last_day
    return [
        FlowStep(
            "Arrived in 24\u00a0h", _or_unknown(seen.arrived_day), "?age=day", of[ARRIVED], ARRIVED_ANCHOR
        ),
        FlowStep("Waiting", figure(seen.waiting), "?status=waiting", of[WAITING], READINGS_ANCHOR),
        FlowStep("Running", figure(seen.running), "?status=in_progress", of[RUNNING], READINGS_ANCHOR),
        FlowStep(
            "Done in 24\u00a0h",
            _or_unknown(done),
            "",
            of[DONE],
            OUTCOMES_ANCHOR,
            since=f"since {figures.hours_to_now(HOURS)[0]:%H:%M}",
        ),
        FlowStep(
            "Failed in 24\u00a0h", figure(seen.failed), "?status=failed_day", of[FAILED], OUTCOMES_ANCHOR
        ),
    ]


def _or_unknown(number: int | None) -> str:
    return "unknown" if number is None else figure(number)


def _courses() -> dict[str, Course]:
    """Return the course of each figure, at most ``SLOW_KEPT_SECONDS`` old."""
    kept: dict[str, Course] | None = memory.get("courses")
    if kept is None:
        values = slow_rows.read().values
        names = (ARRIVED, WAITING, RUNNING, DONE, FAILED)
        kept = {name: _course(values[name], is_reading=name in READINGS) for name in names}
        memory.set("courses", kept, SLOW_KEPT_SECONDS)
    return kept


def _course(values: Sequence[float | None], *, is_reading: bool) -> Course:
    before, now = values[:HOURS], values[HOURS:]
    if is_reading:
        return Course(charts.sparkline(now, before), _whole(now[-1]), _whole(before[-1]))
    # An hour in which nothing ended has no row, and counts as none.
    line = charts.sparkline([value or 0 for value in now], [value or 0 for value in before])
    return Course(line, _sum(now) or 0, _sum(before))


def _sum(values: Sequence[float | None]) -> int | None:
    """Return the sum, or None where nothing is known: nobody counted then."""
    known = [value for value in values if value is not None]
    return int(sum(known)) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
