"""The slower half of the overview, cached for longer than the figures: charts of the last day, recent events, and monitors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.urls import reverse

from alerts.models import Alert
from jobs.models import Sweep
from opsconsole.kit import addresses, charts, figures
from opsconsole.kit.charts import Series
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import HOUR
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.trend_charts import MarkLine
from opsconsole.overview import slow_rows
from opsconsole.overview.memory import SLOW_KEPT_SECONDS, memory
from opsconsole.overview.slow_rows import ARRIVED, DEPTH, OUTCOMES, RECOVERED, RUNNING, WAITING
from opsconsole.trends import drawing, hour_events
from opsconsole.trends.marks import Mark
from ratelimits.records import counted_requests, usage_report

SHOWN = slow_rows.EVENTS_READ
# Where the charts stand on the page, for the figures that lead to them.
OUTCOMES_ANCHOR, ARRIVED_ANCHOR, READINGS_ANCHOR = "by-outcome", "arrived", "waiting-and-running"


@dataclass(frozen=True)
class QuotedChart:
    """A chart, and the page whose figures it shows."""

    page: str
    chart: charts.Chart
    anchor: str = ""
    # The page of the rows that its bars count.
    list_page: str = ""

    def for_user(self, user: Person) -> QuotedChart:
        """Return it with the links that this person may follow."""
        if not self.list_page or may_see(user, self.list_page):
            return self
        return replace(self, chart=self.chart.without_links())


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
class History:
    """The lower half of the overview: charts of the last day, events, monitors, and what people did that the charts mark."""

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

    def read_at(self, moment: datetime) -> datetime:
        """Return the time of ages by the database's clock, given that of the other figures, which may be a few seconds older."""
        times = [each.at for each in self.happened] + [each.last_ok_at for each in self.watches]
        return max([moment, *times])

    def for_user(self, user: Person) -> History:
        """Return the part that this person may see: each chart and event quotes a page."""
        return History(
            [each.for_user(user) for each in self.charts if may_see(user, each.page)],
            [each for each in self.happened if may_see(user, each.page)],
            self.watches if may_see(user, "alerts_monitor") else [],
            [mark for mark in self.marks if may_see(user, mark.page)],
            self.span,
        )


def history() -> History:
    """Return the charts and events, at most ``SLOW_KEPT_SECONDS`` old."""
    kept: History | None = memory.get("history")
    if kept is None:
        rows = slow_rows.read()
        kept = History(_charts(), _happened(), watches(), rows.marks, slow_rows.day_of(rows.hours))
        memory.set("history", kept, SLOW_KEPT_SECONDS)
    return kept


def _charts() -> list[QuotedChart]:
    rows = slow_rows.read()
    values = {name: of_name[-figures.HOURS :] for name, of_name in rows.values.items()}
    hours = rows.hours[-figures.HOURS :]
    labels = [f"{hour:%H:%M}" for hour in hours]
    lines = rows.rules

    def whole(name: str) -> list[int]:
        return [int(value or 0) for value in values[name]]

    def events(kind: str) -> list[str]:
        return [hour_events.list_url(kind, hour) for hour in hours]

    jobs = [Series(outcome, tone, whole(f"jobs {outcome}"), events(outcome)) for outcome, tone in OUTCOMES]
    recovered = [Series("recovered", "running", whole(RECOVERED), events("recovered"))]
    arrived = [Series("arrived", "running", whole(ARRIVED), [_arrived_url(hour) for hour in hours])]
    threshold = lines["dlq_not_empty"].threshold
    since = _since(hours)
    ended = charts.stacked("Runs by outcome, UTC", labels, jobs, sums_as=f"Runs {since}")
    came = charts.stacked("Jobs that arrived", labels, arrived, sums_as=f"Jobs {since}")
    taken = charts.stacked("Runs recovered", labels, recovered, sums_as=f"Runs {since}")
    return [
        QuotedChart("jobs_job", ended, OUTCOMES_ANCHOR),
        QuotedChart("jobs_job", came, ARRIVED_ANCHOR),
        QuotedChart("jobs_job", _waiting_and_running(labels, values), READINGS_ANCHOR),
        QuotedChart("jobs_sweep", taken, list_page="jobs_job"),
        *_limited(lines["limited_requests_hour"].threshold),
        QuotedChart("jobs_deadletter", _depth(labels, values[DEPTH], threshold)),
    ]


def _since(hours: Sequence[datetime]) -> str:
    return f"since {figures.begin_in_words(hours)}: {{sums}}"


def _arrived_url(hour: datetime) -> str:
    """Return the address of the list of the jobs that arrived in this hour."""
    begin, end = (f"{each.astimezone(UTC):%Y-%m-%dT%H:%M:%S}" for each in (hour, hour + HOUR))
    return f"{addresses.fixed('admin:jobs_job_changelist')}?since={begin}&before={end}"


def _waiting_and_running(labels: list[str], values: Mapping[str, Sequence[float | None]]) -> charts.Chart:
    shown = (("waiting", "waiting", WAITING), ("running", "running", RUNNING))
    series = [Series(label, tone, [int(value or 0) for value in values[name]]) for label, tone, name in shown]
    chart = charts.stacked("Waiting and running, highest count per hour", labels, series, level=True)
    return _of_readings(chart, [values[WAITING], values[RUNNING]], "jobs")


def _depth(labels: list[str], values: Sequence[float | None], line: float | None) -> charts.Chart:
    series = [Series("dead letters", "bad", [int(value or 0) for value in values])]
    chart = charts.stacked(
        "Dead letters, highest count per hour", labels, series, alert_above=line, level=True
    )
    return _of_readings(chart, [values], "letters")


def _of_readings(chart: charts.Chart, readings: Sequence[Sequence[float | None]], noun: str) -> charts.Chart:
    """Return the chart with what its bars don't tell: which rows were counted, and the hours without a reading (I8)."""
    by_hour = list(zip(*readings, strict=True))
    rows = [
        [
            row[0],
            *("unknown" if value is None else text for text, value in zip(row[1:], of_hour, strict=True)),
        ]
        for row, of_hour in zip(chart.rows, by_hour, strict=True)
    ]
    unknown = sum(None in of_hour for of_hour in by_hour)
    gap = f"Unknown in {unknown} of {len(by_hour)} hours."
    if unknown == len(by_hour):
        return replace(chart, rows=rows, summary=gap)
    sentences = [chart.summary, f"These are readings: which {noun} they counted is not kept."]
    return replace(chart, rows=rows, summary=" ".join([*sentences, gap] if unknown else sentences))


def _limited(line: float | None) -> list[QuotedChart]:
    try:
        steps = usage_report.report(usage_report.ReportQuery(period=usage_report.PERIODS["day"])).steps
    except OpsConsoleError:
        return []
    labels = [f"{start:%H:%M}" for start, _ in steps]
    urls = [counted_requests.list_url(start, HOUR, "limited") for start, _ in steps]
    refused = [Series("refused with 429", "warning", [counts.limited for _, counts in steps], urls)]
    since = _since([start for start, _ in steps])
    chart = charts.stacked(
        "Requests refused with 429",
        labels,
        refused,
        alert_above=line,
        sums_as=f"Requests {since}",
        alert_in="in an hour",
    )
    return [QuotedChart("ratelimits_ratelimithour", chart)]


def _happened() -> list[Happening]:
    """Return the newest events from sweeps and alerts."""
    rows = slow_rows.read()
    happenings = [
        *map(_of_sweep, rows.sweeps),
        *map(_of_alert, rows.alerts),
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
