"""The requests of the last hour on the limiter's pages, the latest first, a page of lines at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from ratelimits.models import RateLimitRequest

LINES = 25
# Lines that an address may pass over: more than an hour of one client has, and few enough to be read at once.
MOST_SKIPPED = 10_000
SKIPPED = "skip"

Names: TypeAlias = Callable[[Iterable[str]], dict[str, str]]


@dataclass(frozen=True)
class RecentRecords:
    """Some records, each with its client's name and the URL of the client's page; addresses of the pages beside it."""

    rows: Sequence[tuple[RateLimitRequest, str, str]]
    first: int
    newer: str
    older: str

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


def read(
    request: HttpRequest, records: QuerySet[RateLimitRequest], names: Names, client_url: Callable[..., str]
) -> RecentRecords:
    """Return the page of these records that the request's address names, by two statements."""
    skipped = _skipped(request)
    in_order = records.annotate(db_now=Now()).order_by("-created_at", "-pk")
    records_and_one = list(in_order[skipped : skipped + LINES + 1])
    shown = records_and_one[:LINES]
    named = names(record.key for record in shown)
    further = skipped + LINES
    return RecentRecords(
        rows=[(record, named[record.key], client_url(key=record.key)) for record in shown],
        first=skipped + 1,
        newer=_address(request, max(0, skipped - LINES)) if skipped else "",
        older=_address(request, further) if len(records_and_one) > LINES and further <= MOST_SKIPPED else "",
    )


def _skipped(request: HttpRequest) -> int:
    given = request.GET.get(SKIPPED, "")
    number = int(given) if given.isascii() and given.isdecimal() and len(given) < 6 else 0
    return min(number, MOST_SKIPPED)


def _address(request: HttpRequest, skipped: int) -> str:
    query = request.GET.copy()
    query[SKIPPED] = str(skipped)
    return f"?{query.urlencode()}"
