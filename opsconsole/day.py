"""The day behind and the lines that were drawn: figures against their targets, charts of 24 hours, monitors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F, Min, Q, Sum
from django.db.models.functions import Now, TruncHour

from alerts.models import Gauge, Monitor, Rule
from jobs.models import DeadLetter, Job
from jobs.tally import FIGURES
from opsconsole import charts, figures
from opsconsole.charts import Chart, Series
from opsconsole.overview import memory
from ratelimits.models import RateLimitHour, RateLimitRequest

CHARTS_KEPT_SECONDS = 60
KEPT_SECONDS = 5
# What the team aims at (docs: the contract's targets), as the tiles say it.
TARGETS = {"stale_jobs_day": "0", "dlq_not_empty": "0", "limited_requests_hour": "under 10"}
OUTCOMES = (
    ("jobs completed", "completed", "good"),
    ("jobs cancelled", "cancelled", "quiet"),
    ("jobs quarantined", "quarantined", "warning"),
    ("jobs failed", "failed", "bad"),
)


@dataclass(frozen=True)
class Judged:
    """A figure that a rule judges; ``value`` None: unknown, which is not zero (I8)."""

    value: float | None
    line: float | None
    target: str

    @property
    def tone(self) -> str:
        if self.value is None:
            return "warning"
        return "bad" if self.line is not None and self.value > self.line else ""


@dataclass(frozen=True)
class Day:
    judged: Mapping[str, Judged]
    recovered: int
    oldest_wait: timedelta | None
    soonest_expiry: datetime | None
    monitors: Sequence[Any]


def read() -> Day:
    """At most ``KEPT_SECONDS`` old."""
    day: Day | None = memory.get("day")
    if day is None:
        day = _read()
        memory.set("day", day, KEPT_SECONDS)
    return day


def _read() -> Day:
    lines = dict(Rule.objects.filter(name__in=TARGETS).values_list("name", "threshold"))
    measured = list(Gauge.objects.filter(rule__in=TARGETS).values_list("rule", "value", "unknown_since"))
    oldest = Job.objects.waiting().filter(Q(not_before=None) | Q(not_before__lte=Now()))
    _, of_the_day = figures.last_day(["runs recovered"])
    return Day(
        judged={rule: judge(rule, measured, lines.get(rule)) for rule in TARGETS},
        recovered=int(sum(filter(None, of_the_day["runs recovered"]))),
        # By the walk of the index of waiting jobs: one row.
        oldest_wait=oldest.annotate(wait=Now() - F("updated_at"))
        .order_by("updated_at", "pk")
        .values_list("wait", flat=True)
        .first(),
        soonest_expiry=DeadLetter.objects.present().aggregate(soonest=Min("expires_at"))["soonest"],
        monitors=list(
            Monitor.objects.annotate(db_now=Now(), due_at=F("last_ok_at") + F("interval")).order_by("name")
        ),
    )


def judge(rule: str, measured: Iterable[tuple[str, float | None, Any]], line: float | None) -> Judged:
    """All scopes of the rule together; one that can't be read makes the sum unknown. Pure."""
    own = [(value, unknown) for name, value, unknown in measured if name == rule]
    known = bool(own) and all(value is not None and not unknown for value, unknown in own)
    total = sum(value or 0 for value, _ in own) if known else None
    return Judged(total, line, TARGETS[rule])


def charts_of_the_day() -> list[Chart]:
    """At most a minute old."""
    drawn: list[Chart] | None = memory.get("charts")
    if drawn is None:
        drawn = _draw()
        memory.set("charts", drawn, CHARTS_KEPT_SECONDS)
    return drawn


def _draw() -> list[Chart]:
    hours, values = figures.last_day([*FIGURES.values(), "dead letters"])
    labels = [f"{hour:%H}:00" for hour in hours]
    lines = dict(Rule.objects.filter(name__in=TARGETS).values_list("name", "threshold"))

    def bars(name: str, label: str, tone: str) -> Series:
        return Series(label, tone, [int(value or 0) for value in values[name]])

    return [
        charts.stacked("How jobs ended in 24 hours, UTC", labels, [bars(*outcome) for outcome in OUTCOMES]),
        charts.stacked(
            "Runs recovered from dead workers", labels, [bars("runs recovered", "recovered", "warning")]
        ),
        charts.stacked(
            "Refused requests (429)",
            labels,
            [Series("refused", "bad", _refused(hours))],
            alert=lines.get("limited_requests_hour"),
        ),
        charts.stacked(
            "Dead letters, the most in each hour",
            labels,
            [bars("dead letters", "dead letters", "bad")],
            alert=lines.get("dlq_not_empty"),
        ),
    ]


def _refused(hours: Sequence[datetime]) -> list[int]:
    """From the rollups, and for what these don't hold yet from the records."""
    rolled = RateLimitHour.objects.filter(hour__gte=hours[0], outcome="limited").values_list("hour")
    counted = dict(rolled.annotate(Sum("hits")).order_by())
    latest = max(counted, default=hours[0] - timedelta(hours=1))
    recent = RateLimitRequest.objects.filter(created_at__gte=latest + timedelta(hours=1), outcome="limited")
    grouped = (
        recent.annotate(hour=TruncHour("created_at")).values_list("hour").annotate(Sum("hits")).order_by()
    )
    counted |= {hour: hits for hour, hits in grouped if hour not in counted}
    return [int(counted.get(hour, 0)) for hour in hours]
