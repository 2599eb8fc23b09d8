"""The page of the requests that a bar of the limiter's charts counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from django.http import Http404, HttpRequest

from opsconsole.kit.counting import exactly
from opsconsole.kit.postgresql.timestamps import begin_of, named_moment
from ratelimits.models.hour import hash_key
from ratelimits.records import counted_requests, usage_report
from ratelimits.records.counted_requests import STEPS, Step

Names: TypeAlias = Callable[[Iterable[str]], dict[str, str]]
WORDS = {
    "limited": "above the limit, refused",
    "denied": "from denied networks, refused",
    "shadow": "above the limit, allowed in shadow mode",
    "refused": "refused",
    "admitted": "allowed",
}


def context(request: HttpRequest, names: Names, client_url: Callable[..., str]) -> dict[str, Any]:
    """Return what the page shows. Raise ``Http404`` where the address names no step or no series."""
    asked = _asked(request)
    start, length = counted_requests.kept_step(asked.start, asked.length)
    step = Step(start=start, length=length, counted=asked.counted, policy=asked.policy, client=asked.client)
    shown = {"title": "Requests counted", "step": step, "words": WORDS[step.counted]}
    try:
        page = counted_requests.read(step)
    except usage_report.ReportTimeout as error:
        return shown | {"timeout": str(error)}
    named = names(line.key for line in page.shown if line.key)
    rows = [
        (
            line,
            named[line.key] if line.key else f"{line.digest[:12]}…",
            client_url(key=line.key) if line.key else client_url(hash=line.digest),
        )
        for line in page.shown
    ]
    return shown | {
        "total": exactly(page.total, "request"),
        "rows": rows,
        "hidden": page.lines - len(rows),
        "is_wider": length != asked.length,
    }


def _asked(request: HttpRequest) -> Step:
    given = request.GET
    start, minutes, counted = (
        named_moment(given.get("at", "")),
        given.get("minutes", ""),
        given.get("counted"),
    )
    length = (
        STEPS.get(int(minutes)) if minutes.isascii() and minutes.isdecimal() and len(minutes) < 6 else None
    )
    if start is None or length is None or counted not in WORDS or start != begin_of(start, length):
        raise Http404
    key = given.get("key", "")[:200]
    client = hash_key(key) if key else given.get("hash", "")[:64]
    return Step(
        start=start,
        length=length,
        counted=counted,
        policy=given.get("policy", "")[:50] or None,
        client=client or None,
    )
