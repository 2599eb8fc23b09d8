"""The page Trends: how long runs waited and ran and how they ended; and the list of the runs of a bar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from jobs.admin import labels
from jobs.models import RunRollup, Status
from jobs.models.run_rollup import SHOWN_FOR
from opsconsole.admin import hour_events
from opsconsole.kit.bounded_columns import LONGEST_NAME
from opsconsole.kit.display import badge
from opsconsole.kit.durations import brief, unbroken
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.postgresql.timestamps import named_moment
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.storable import is_storable
from opsconsole.trends import drawing, marks, report, run_list
from opsconsole.trends.ended_runs import Dimension, EndedRun, Outcome
from opsconsole.trends.periods import DEFAULT_PERIOD, PERIODS, Period, start_of
from opsconsole.trends.report import Bar
from opsconsole.trends.run_list import Wanted

CHOICES: Mapping[str, str] = {
    Dimension.QUEUE: "Queue",
    Dimension.PRIORITY: "Priority",
    Dimension.CUSTOMER: "Customer",
    Dimension.WORKER: "Worker",
}
# The cluster counts every minute what was sealed the minute before.
NO_VALUE = "(unknown)"


@dataclass(frozen=True)
class Choice:
    """What the address asks for. ``only`` None: all values."""

    name: str
    period: Period
    by: str
    only: str | None

    @classmethod
    def of(cls, request: HttpRequest) -> Choice:
        name = request.GET.get("range", "")
        name = name if name in PERIODS else DEFAULT_PERIOD
        by = request.GET.get("by", "")
        by = by if by in CHOICES else Dimension.QUEUE
        return cls(name, PERIODS[name], by, _value(request))

    def link(self, **changes: str | None) -> str:
        """Return the address of the page with these changes; a value of None is left out."""
        named = {"range": self.name, "by": self.by, "only": self.only} | changes
        return "?" + urlencode({name: value for name, value in named.items() if value is not None})

    def list_of(self, bar: Bar, outcome: str) -> str:
        """Return the address of the list of a bar."""
        return run_list.list_url(bar.start, self.period.minutes, self.by, self.only, outcome)


@admin.register(RunRollup)
class TrendsAdmin(OnePageAdmin):
    live_on = ("jobs.RunRollupState",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Show it to those who may see jobs, of which every figure is."""
        return may_see(request.user, "jobs_job")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.runs_view)
        events = self.admin_site.admin_view(self.events_view)
        return [
            path("runs/", view, name="jobs_runrollup_runs"),
            path("events/", events, name="jobs_runrollup_events"),
            *super().get_urls(),
        ]

    def show(self, request: HttpRequest) -> HttpResponse:
        choice, counted = Choice.of(request), report.progress()
        seen = report.read(counted, choice.period, choice.by, choice.only)
        begin, end = seen.bars[0].start, seen.bars[-1].end
        shown_marks = marks.within(request.user, begin, end)
        context = {
            "title": "Trends",
            "period": choice.period,
            "dimension": CHOICES[choice.by],
            "only": None if choice.only is None else choice.only or NO_VALUE,
            "whole_url": choice.link(only=None),
            "ranges": [
                (each.short, choice.link(range=name), name == choice.name) for name, each in PERIODS.items()
            ],
            "dimensions": [
                (label, choice.link(by=name, only=None), name == choice.by) for name, label in CHOICES.items()
            ],
            "counted": counted,
            "begin": begin,
            "is_behind": counted.is_behind,
            "report": seen,
            "charts": drawing.charts(seen, choice.period, shown_marks, choice.list_of),
            "most_failed": drawing.most_failed(seen, choice.period, choice.list_of),
            "tables": drawing.tables(seen, choice.period, choice.list_of),
            "marks": shown_marks,
            "line_header": drawing.LINE_HEADER,
            "lines": drawing.line_rows(
                seen, lambda value: value or NO_VALUE, lambda value: choice.link(only=value)
            ),
        }
        return self.render(request, "admin/opsconsole/trends.html", context)

    def runs_view(self, request: HttpRequest) -> HttpResponse:
        """Show the runs that a bar counts."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if "at" not in request.GET:
            return redirect(self.address("changelist"))
        wanted = _wanted(request)
        page = run_list.read(wanted, _number(request.GET.get("before", "")))
        context = {
            "title": "Runs that ended",
            "wanted": wanted,
            "what": _what(wanted),
            "found": page,
            "rows": [_run_row(run) for run in page.runs],
            "jobs_url": _jobs_url(wanted),
            "counted": report.progress(),
            "older_url": _older_url(request, page.older),
            "newest_url": _older_url(request, None) if "before" in request.GET else "",
        }
        return self.render(request, "admin/opsconsole/trend_runs.html", context)

    def events_view(self, request: HttpRequest) -> HttpResponse:
        """Show the events that a bar of an hourly chart counts."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if "at" not in request.GET:
            return redirect(self.address("changelist"))
        return self.render(request, "admin/opsconsole/hour_events.html", hour_events.context(request))


def _value(request: HttpRequest) -> str | None:
    value = request.GET.get("only")
    return value if value is not None and len(value) <= LONGEST_NAME and is_storable(value) else None


def _wanted(request: HttpRequest) -> Wanted:
    """Read the bar from the address. Raise ``Http404`` if there is no such bar."""
    start, minutes = named_moment(request.GET.get("at", "")), _number(request.GET.get("minutes", ""))
    by, ended = request.GET.get("by", Dimension.QUEUE), request.GET.get("ended", "")
    if start is None or minutes not in SHOWN_FOR or start != start_of(start, minutes):
        raise Http404
    if by not in CHOICES or (ended and ended not in set(Outcome)):
        raise Http404
    value = _value(request)
    if value is None and "only" in request.GET:
        raise Http404
    outcome = Outcome(ended) if ended else None
    return Wanted(start, start + timedelta(minutes=minutes), minutes, by, value, outcome)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _what(wanted: Wanted) -> str:
    """Name the runs, such as 'Failed runs of the queue default'."""
    how = f"{wanted.outcome.value.capitalize()} runs" if wanted.outcome else "Runs"
    return how if wanted.value is None else f"{how} of the {wanted.dimension} {wanted.value or NO_VALUE}"


def _jobs_url(wanted: Wanted) -> str:
    """Return the address of the list of jobs that ended so in this time, or '' where no status tells it."""
    status = {Outcome.COMPLETED: Status.COMPLETED, Outcome.FAILED: Status.FAILED}.get(
        wanted.outcome or Outcome.LOST
    )
    if status is None:
        return ""
    named = {
        "status": status.value,
        "finished_since": wanted.start.isoformat(),
        "finished_before": wanted.end.isoformat(),
    }
    if wanted.value:
        named[wanted.dimension] = wanted.value
    return f"{reverse('admin:jobs_job_changelist')}?{urlencode(named)}"


def _run_row(run: EndedRun) -> dict[str, Any]:
    return {
        "run": run,
        "job": labels.job_link(run.job_id),
        "outcome": _badge(run.outcome),
        "waited": "unknown" if run.waited is None else unbroken(brief(run.waited.total_seconds())),
        "ran": drawing.NONE if run.ran is None else unbroken(brief(run.ran.total_seconds())),
        "queue": run.by[Dimension.QUEUE] or NO_VALUE,
        "customer": run.by[Dimension.CUSTOMER] or NO_VALUE,
        "worker": run.by[Dimension.WORKER] or NO_VALUE,
    }


def _badge(outcome: Outcome) -> SafeString:
    return badge(outcome.value.capitalize(), drawing.TONES[outcome])


def _older_url(request: HttpRequest, before: int | None) -> str:
    """Return the address of the next page, or of the first one."""
    named = request.GET.copy()
    named.pop("before", None)
    if before is not None:
        named["before"] = str(before)
    return f"?{named.urlencode()}"
