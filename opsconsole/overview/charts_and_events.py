"""The slower half of the overview, cached for longer than the figures: charts of the last day, recent events, and monitors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from django.db.models import F
from django.db.models.functions import Now
from django.urls import reverse

from alerts import rules
from alerts.models import Alert, Monitor
from jobs.models import Sweep
from jobs.watch import hourly_counts
from opsconsole.kit import charts, figures
from opsconsole.kit.charts import Series
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview.current_figures import SLOW_KEPT_SECONDS, memory
from ratelimits.records import usage_report

SHOWN = 8
# Most sweeps find nothing: only this many of the newest are searched for those that did.
SWEEPS_READ = 200
MONITORS_SHOWN = 20
OUTCOMES = (
    ("completed", "good"),
    ("failed", "bad"),
    ("quarantined", "warning"),
    ("cancelled", "quiet"),
)
RECOVERED, DEPTH = "runs recovered", "dead letters"


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

    def for_user(self, user: Person) -> Lately:
        """Return the part that this person may see: each chart and event quotes a page."""
        return Lately(
            [each for each in self.charts if may_see(user, each.page)],
            [each for each in self.happened if may_see(user, each.page)],
            self.watches if may_see(user, "alerts_monitor") else [],
        )


def lately() -> Lately:
    """Return the charts and events, at most ``SLOW_KEPT_SECONDS`` old."""
    kept: Lately | None = memory.get("lately")
    if kept is None:
        kept = Lately(_charts(), _happened(), watches())
        memory.set("lately", kept, SLOW_KEPT_SECONDS)
    return kept


def _charts() -> list[QuotedChart]:
    names = [*(f"jobs {outcome}" for outcome, _ in OUTCOMES), RECOVERED, DEPTH]
    hours, stored = figures.last_day(names)
    # The stored counts are up to a minute old, and the figures beside the charts are not.
    running = hourly_counts.unfinished()
    values = {
        name: [running.get((name, hour), value) for hour, value in zip(hours, of_name, strict=True)]
        for name, of_name in stored.items()
    }
    labels = [f"{hour:%H:%M}" for hour in hours]
    lines = rules.all_by_name()

    def whole(name: str) -> list[int]:
        return [int(value or 0) for value in values[name]]

    jobs = [Series(outcome, tone, whole(f"jobs {outcome}")) for outcome, tone in OUTCOMES]
    recovered = [Series("recovered", "running", whole(RECOVERED))]
    return [
        QuotedChart("jobs_job", charts.stacked("Jobs by outcome, UTC", labels, jobs)),
        QuotedChart("jobs_sweep", charts.stacked("Runs recovered", labels, recovered)),
        *_limited(lines["limited_requests_hour"].threshold),
        QuotedChart("jobs_deadletter", _depth(labels, values[DEPTH], lines["dlq_not_empty"].threshold)),
    ]


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
    sweeps = Sweep.objects.finished().order_by("-started_at", "-id").defer("details")[:SWEEPS_READ]
    happenings = [
        *islice((_of_sweep(sweep) for sweep in sweeps if sweep.found or sweep.errors), SHOWN),
        *(_of_alert(alert) for alert in Alert.objects.order_by("-since", "-id")[:SHOWN]),
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
    kept: list[Watch] | None = memory.get("watches")
    if kept is None:
        kept = _watches()
        memory.set("watches", kept, SLOW_KEPT_SECONDS)
    return kept


def _watches() -> list[Watch]:
    rows = Monitor.objects.annotate(read_at=Now(), due_at=F("last_ok_at") + F("interval")).order_by("due_at")
    return [
        Watch(row.pk, row.last_ok_at, row.due_at, row.is_late(row.read_at)) for row in rows[:MONITORS_SHOWN]
    ]
