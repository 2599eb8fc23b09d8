"""How work flows: jobs that arrive, wait, run, are done and fail, each with its last day and the day before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opsconsole.kit import charts, figures
from opsconsole.kit.charts import Sparkline
from opsconsole.kit.counting import exactly, figure
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

    ``anchor``: of the chart of its hours, whose bars open what they count. ``since``: the full hour from which on it counts, '' where
    it is exact to the minute; where the hours count something else, their sum, too. ``counted_by_hour``: what the hours count, where
    that is not what the figure counts: a job that failed, was requeued and failed again is one job and two runs.
    """

    label: str
    shown: str
    query: str
    course: Course
    anchor: str
    since: str = ""
    counted_by_hour: str = ""

    @property
    def before(self) -> str:
        """Return in words from when on it counts, and yesterday's figure, if it is known."""
        before = self.course.day_before
        yesterday = "" if before is None else f"the day before {before:,} {self.counted_by_hour}".rstrip()
        return ", ".join(filter(None, [self.since, yesterday]))

    @property
    def by_hour(self) -> str:
        """Return what the line is of."""
        counted = f", {self.counted_by_hour}" if self.counted_by_hour else ""
        return f"{self.label}{counted}, by hour"


def steps(seen: Overview, user: Person) -> list[FlowStep]:
    """Return the steps of the flow for those who may see jobs."""
    if not may_see(user, "jobs_job"):
        return []
    of = _courses()
    done_runs, since = of[DONE].last_day, figures.begin_in_words(figures.hours_to_now(HOURS))
    return [
        FlowStep(
            "Jobs arrived in 24\u00a0h",
            _or_unknown(seen.arrived_day),
            "?age=day",
            of[ARRIVED],
            ARRIVED_ANCHOR,
        ),
        FlowStep("Jobs waiting", figure(seen.waiting), "?status=waiting", of[WAITING], READINGS_ANCHOR),
        FlowStep("Jobs running", figure(seen.running), "?status=in_progress", of[RUNNING], READINGS_ANCHOR),
        FlowStep(
            "Runs done in 24\u00a0h",
            _or_unknown(done_runs),
            "",
            of[DONE],
            OUTCOMES_ANCHOR,
            since=f"since {since}",
        ),
        FlowStep(
            "Jobs failed in 24\u00a0h",
            figure(seen.failed),
            "?status=failed_day",
            of[FAILED],
            OUTCOMES_ANCHOR,
            since=f"{exactly(of[FAILED].last_day or 0, 'failed run')} recorded since {since}",
            counted_by_hour="runs",
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
