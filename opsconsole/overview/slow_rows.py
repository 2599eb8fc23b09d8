"""The rows of the overview's charts, sparklines and recent events: one statement, cached for longer than the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Now, TruncHour

from alerts import rules
from alerts.models import Alert, Monitor, Rule
from jobs.models import Sweep
from jobs.watch import hourly_counts
from opsconsole.kit import figures, one_statement
from opsconsole.kit.built_once import built_once
from opsconsole.kit.durations import HOUR
from opsconsole.kit.one_statement import Reading, models_of, records_of
from opsconsole.overview import last_day
from opsconsole.overview.memory import SLOW_KEPT_SECONDS, memory
from opsconsole.trends import marks
from opsconsole.trends.marks import Mark

# Most sweeps find nothing: only this many of the newest are searched for those that did.
SWEEPS_SEARCHED = 200
# What is told of one.
OF_SWEEPS = ("started_at", "found", "requeued", "quarantined", "skipped", "locked", "errors")
EVENTS_READ, MONITORS_READ = 8, 20
KEY = "slow-rows"
OUTCOMES = (
    ("completed", "good"),
    ("failed", "bad"),
    ("quarantined", "warning"),
    ("cancelled", "quiet"),
)
RECOVERED, DEPTH = "runs recovered", "dead letters"
ARRIVED, WAITING, RUNNING = hourly_counts.ARRIVED, hourly_counts.WAITING, hourly_counts.RUNNING
NAMES = (*(f"jobs {outcome}" for outcome, _ in OUTCOMES), RECOVERED, DEPTH, ARRIVED, WAITING, RUNNING)


@dataclass(frozen=True)
class SlowRows:
    """``hours``: two days, the last one running. ``values``: the figure of each hour by name; None: unknown (I8)."""

    hours: Sequence[datetime]
    values: Mapping[str, Sequence[float | None]]
    rules: Mapping[str, Rule]
    sweeps: Sequence[Sweep]
    alerts: Sequence[Alert]
    monitors: Sequence[Monitor]
    figures: Mapping[str, Any]
    marks: Sequence[Mark]


def kept() -> SlowRows | None:
    """Return the rows if they were read lately, without reading them."""
    rows: SlowRows | None = memory.get(KEY)
    return rows


def read() -> SlowRows:
    """Return the rows, at most ``SLOW_KEPT_SECONDS`` old."""
    rows = kept()
    if rows is None:
        rows = _read()
        memory.set(KEY, rows, SLOW_KEPT_SECONDS)
        # They are made of these rows, so that all tell of the same events.
        memory.delete_many(["history", "courses", "watches"])
    return rows


def monitors() -> QuerySet[Monitor]:
    """Return the monitors with when each is due."""
    rows = Monitor.objects.annotate(read_at=Now(), due_at=F("last_ok_at") + F("interval"))
    return rows.order_by("due_at")[:MONITORS_READ]


def _read() -> SlowRows:
    hours = figures.hours_to_now(2 * figures.HOURS)
    rows = _with_figures(_readings())
    # The stored counts are up to a minute old, and the figures beside the charts are not. Of many, a minute changes little.
    running = hourly_counts.unfinished_of(rows["ended"], rows["arrived"])
    values = {
        name: [running.get((name, hour), value) for hour, value in zip(hours, of_name, strict=True)]
        for name, of_name in figures.by_hour(rows["stored"], NAMES, hours).items()
    }
    lines = rules.with_defaults(rows["rules"])
    of_day = last_day.figures_of(rows, lines)
    marked = marks.of_rows(rows["paused"], rows["switched"])
    return SlowRows(hours, values, lines, rows["sweeps"], rows["alerts"], rows["monitors"], of_day, marked)


@built_once
def _readings() -> dict[str, Reading[Any]]:
    day = TruncHour(Now() - (figures.HOURS - 1) * HOUR), TruncHour(Now() + HOUR)
    # With one hour more: the hours are those of this host's clock.
    two_days = TruncHour(Now() - 2 * figures.HOURS * HOUR)
    return {
        "stored": records_of(figures.stored(NAMES, two_days)),
        "paused": models_of(marks.pauses_within(*day)),
        "switched": records_of(marks.switched_within(*day)),
        "ended": records_of(hourly_counts.ended(if_few=True)),
        "arrived": records_of(hourly_counts.arrived(if_few=True)),
        "rules": models_of(Rule.objects.all()),
        "sweeps": models_of(
            Sweep.objects.worth_telling(among=SWEEPS_SEARCHED).only(*OF_SWEEPS)[:EVENTS_READ]
        ),
        "alerts": models_of(Alert.objects.order_by("-since", "-id")[:EVENTS_READ]),
        "monitors": models_of(monitors()),
    }


def day_of(hours: Sequence[datetime]) -> tuple[datetime, datetime]:
    """Return the begin and the end of the axis of the last day's charts."""
    return hours[-figures.HOURS], hours[-1] + HOUR


def _with_figures(readings: Mapping[str, Reading[Any]]) -> dict[str, Any]:
    """Read these together with the figures of the day. Where one of those can't be read, the others are known all the same."""
    of_day = last_day.readings()
    if read := one_statement.read_if_possible({**readings, **of_day}):
        return read
    return one_statement.read(**readings) | one_statement.read_apart(of_day)
