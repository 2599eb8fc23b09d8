"""The events that a bar of an hourly chart counts: the same rows as ``hourly_counts`` counts, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db.models import Q

from jobs.models import Job, JobEvent
from jobs.watch import hourly_counts
from opsconsole.kit import addresses, counting
from opsconsole.kit.durations import HOUR

PAGE = "admin:jobs_runrollup_events"
SHOWN = 50
KINDS = {str(kind): name for kind, name in hourly_counts.FIGURES.items()}


class Place(NamedTuple):
    """An event's place in the list."""

    at: datetime
    event: int


@dataclass(frozen=True)
class HourEvents:
    """``counted``: how many events the hour has, capped. ``older``: the event after which the list goes on."""

    counted: int
    rows: Sequence[dict[str, Any]]
    older: Place | None


def list_url(kind: str, hour: datetime) -> str:
    """Return the address of the list of the events of this kind in the hour that begins then."""
    # A chart has a hundred of them, and a query may hold the colons of times as they are.
    return f"{addresses.fixed(PAGE)}?kind={kind}&at={hour.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def read(kind: str, hour: datetime, after: Place | None = None) -> HourEvents:
    """Return a page of the events, each with its job's queue and customer where the job is still there."""
    events = JobEvent.objects.filter(kind=kind, at__gte=hour, at__lt=hour + HOUR)
    page = events if after is None else events.filter(Q(at__lt=after.at) | Q(at=after.at, id__lt=after.event))
    names = ("id", "at", "job_id", "run_epoch", "actor", "reason")
    rows_and_one = list(page.order_by("-at", "-id").values(*names)[: SHOWN + 1])
    rows = rows_and_one[:SHOWN]
    jobs = {
        job["pk"]: job
        for job in Job.objects.filter(pk__in={row["job_id"] for row in rows}).values(
            "pk", "queue", "customer_id"
        )
    }
    older = Place(rows[-1]["at"], rows[-1]["id"]) if len(rows_and_one) > SHOWN else None
    return HourEvents(counting.count(events), [row | {"job": jobs.get(row["job_id"])} for row in rows], older)
