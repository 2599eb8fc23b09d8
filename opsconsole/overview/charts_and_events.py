"""The slower half of the overview, cached for longer than the figures: charts of the last day, recent events, and monitors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

from django.urls import reverse

from alerts.models import Alert
from jobs.models import Sweep
from opsconsole.kit import charts, figures
from opsconsole.kit.charts import Series
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import HOUR, MINUTE
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.trend_charts import MarkLine
from opsconsole.overview import slow_rows
from opsconsole.overview.memory import SLOW_KEPT_SECONDS, memory
from opsconsole.overview.slow_rows import DEPTH, OUTCOMES, RECOVERED
from opsconsole.trends import drawing, run_list
from opsconsole.trends.ended_runs import Dimension, Outcome
from opsconsole.trends.marks import Mark
from ratelimits.records import usage_report

SHOWN = slow_rows.ALERTS_READ


@dataclass(frozen=True)
class QuotedChart:
    """A chart, and the page whose figures it shows."""

    page: str
    chart: charts.Chart


@dataclass(frozen=True)
class Happening:
    """Something that the console did or noticed, with the page where it is told: a row of ``page``."""

    at: datetime
    what: str
    page: str
    key: int

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.page}_change", args=[self.key])


@dataclass(frozen=True)
class Watch:
    """A monitor: when it last succeeded, and when it is next due."""

    name: str
    last_ok_at: datetime
    due_at: datetime
    late: bool


@dataclass(frozen=True)
class Lately:
    charts: list[QuotedChart]
    happened: list[Happening]
    watches: list[Watch]
    marks: Sequence[Mark] = ()
    # The time of the charts.
    span: tuple[datetime, datetime] | None = None

    @property
    def mark_lines(self) -> list[MarkLine]:
        """Return where the marks stand on the charts."""
        return drawing.lines_between(self.marks, *self.span) if self.span else []

    def for_user(self, user: Person) -> Lately:
        """Return the part that this person may see: each chart and event quotes a page."""
        return Lately(
            [each for each in self.charts if may_see(user, each.page)],
            [each for each in self.happened if may_see(user, each.page)],
            self.watches if may_see(user, "alerts_monitor") else [],
            [mark for mark in self.marks if may_see(user, mark.page)],
            self.span,
        )


def lately() -> Lately:
    """Return the charts and events, at most ``SLOW_KEPT_SECONDS`` old."""
    kept: Lately | None = memory.get("lately")
    if kept is None:
        rows = slow_rows.read()
        kept = Lately(_charts(), _happened(), watches(), rows.marks, slow_rows.day_of(rows.hours))
        memory.set("lately", kept, SLOW_KEPT_SECONDS)
    return kept


def _charts() -> list[QuotedChart]:
    rows = slow_rows.read()
    values = {name: of_name[-figures.HOURS :] for name, of_name in rows.values.items()}
    labels = [f"{hour:%H:%M}" for hour in rows.hours[-figures.HOURS :]]
    lines = rows.rules

    def whole(name: str) -> list[int]:
        return [int(value or 0) for value in values[name]]

    jobs = [
        Series(outcome, tone, whole(f"jobs {outcome}"), _lists_of(outcome, rows.hours[-figures.HOURS :]))
        for outcome, tone in OUTCOMES
    ]
    recovered = [Series("recovered", "running", whole(RECOVERED))]
    return [
        QuotedChart("jobs_job", charts.stacked("Jobs by outcome, UTC", labels, jobs)),
        QuotedChart("jobs_sweep", charts.stacked("Runs recovered", labels, recovered)),
        *_limited(lines["limited_requests_hour"].threshold),
        QuotedChart("jobs_deadletter", _depth(labels, values[DEPTH], lines["dlq_not_empty"].threshold)),
    ]


def _lists_of(outcome: str, hours: Sequence[datetime]) -> list[str]:
    """Return the address of the list of runs of each hour that is over, for outcomes of which the trends count the runs.

    Both count the same events; the trends count those of the last minutes later.
    """
    if outcome not in set(Outcome):
        return []
    lists = [run_list.list_url(hour, HOUR // MINUTE, Dimension.QUEUE, None, outcome) for hour in hours[:-1]]
    return [*lists, ""]


def _depth(labels: list[str], values: Sequence[float | None], line: float | None) -> charts.Chart:
    """Return the chart of the depth. An hour without a reading has no bar and is called unknown (I8)."""
    series = [Series("dead letters", "bad", [int(value or 0) for value in values])]
    chart = charts.stacked(
        "Dead letters, highest count per hour", labels, series, alert_above=line, level=True
    )
    unknown = sum(value is None for value in values)
    if not unknown:
        return chart
    rows = [
        [row[0], "unknown"] if value is None else row for row, value in zip(chart.rows, values, strict=True)
    ]
    gap = f"Unknown in {unknown} of {len(values)} hours."
    return replace(chart, rows=rows, summary=gap if unknown == len(values) else f"{chart.summary} {gap}")


def _limited(line: float | None) -> list[QuotedChart]:
    try:
        steps = usage_report.report(usage_report.ReportQuery(period=usage_report.PERIODS["day"])).steps
    except OpsConsoleError:
        return []
    labels = [f"{start:%H:%M}" for start, _ in steps]
    refused = [Series("refused with 429", "warning", [counts.limited for _, counts in steps])]
    chart = charts.stacked("Requests refused with 429", labels, refused, alert_above=line)
    return [QuotedChart("ratelimits_ratelimithour", chart)]


def _happened() -> list[Happening]:
    """Return the newest events from sweeps and alerts."""
    rows = slow_rows.read()
    happenings = [
        *islice((_of_sweep(sweep) for sweep in rows.sweeps if sweep.found or sweep.errors), SHOWN),
        *(_of_alert(alert) for alert in rows.alerts),
    ]
    return sorted(happenings, key=lambda happening: happening.at, reverse=True)[:SHOWN]


def _of_sweep(sweep: Sweep) -> Happening:
    what = f"A sweep found {exactly(sweep.found, 'stale run')}, requeued {sweep.requeued:,}, quarantined {sweep.quarantined:,}"
    rest = ((sweep.skipped, "skipped"), (sweep.locked, "locked by others"), (sweep.errors, "failed"))
    sentence = ", ".join([what, *(f"{count:,} {word}" for count, word in rest if count)])
    return Happening(sweep.started_at, sentence, "jobs_sweep", sweep.pk)


def _of_alert(alert: Alert) -> Happening:
    ended = "" if alert.open else " (resolved)"
    return Happening(alert.since, f"Alert: {alert.title}{ended}", "alerts_alert", alert.pk)


def watches() -> list[Watch]:
    """Return the monitors, at most ``SLOW_KEPT_SECONDS`` old."""
    if rows := slow_rows.kept():
        return _watches(rows.monitors)
    kept: list[Watch] | None = memory.get("watches")
    if kept is None:
        kept = _watches(slow_rows.monitors())
        memory.set("watches", kept, SLOW_KEPT_SECONDS)
    return kept


def _watches(rows: Iterable[Any]) -> list[Watch]:
    return [Watch(row.pk, row.last_ok_at, row.due_at, row.is_late(row.read_at)) for row in rows]
