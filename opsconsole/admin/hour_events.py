"""The page of the events that a bar of an hourly chart counts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest

from jobs.admin import labels
from opsconsole.kit.counting import many
from opsconsole.kit.durations import HOUR
from opsconsole.kit.postgresql.timestamps import begin_of, named_moment
from opsconsole.trends import hour_events
from opsconsole.trends.hour_events import Place


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows. Raise ``Http404`` where the address names no hour or no kind that is counted."""
    kind, hour = request.GET.get("kind", ""), named_moment(request.GET.get("at", ""))
    if kind not in hour_events.KINDS or hour is None or hour != begin_of(hour, HOUR):
        raise Http404
    after = _place(request)
    page = hour_events.read(kind, hour, after)
    here = {"kind": kind, "at": request.GET["at"]}
    older = page.older and here | {"after": page.older.at.isoformat(), "event": str(page.older.event)}
    figure = hour_events.KINDS[kind]
    return {
        "title": figure.capitalize(),
        "counted": many(page.counted, "event"),
        "start": hour,
        "end": hour + HOUR,
        "rows": [row | {"link": labels.job_link(row["job_id"])} for row in page.rows],
        "older_url": f"?{urlencode(older)}" if older else "",
        "newest_url": f"?{urlencode(here)}" if after else "",
    }


def _place(request: HttpRequest) -> Place | None:
    at, event = named_moment(request.GET.get("after", "")), request.GET.get("event", "")
    is_number = event.isascii() and event.isdecimal() and len(event) < 19
    return Place(at, int(event)) if at and is_number else None
