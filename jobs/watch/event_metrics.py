"""Metrics from the timelines: how long jobs wait and run, and how long recovery takes, whoever the workers are.

Workers in other languages write the same events, so they are counted from there. Each host that is scraped follows the
timelines by itself, from where it read last; that is kept in a file beside its metrics. A transaction that stays open for
longer than ``SETTLING`` may be passed over.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Case, DateTimeField, F, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Coalesce, Greatest, Now

from jobs.models import Job, JobEvent
from opsconsole.kit import metrics

PAGE = 5_000
# So many pages per scrape at most; the next one continues.
MOST_PAGES = 4
SETTLING = timedelta(seconds=5)
# Older events are not counted any more, after a time without scrapes.
LOOKED_BACK = timedelta(days=1)
# A producer may write any name; each would be a series that stays.
OTHER_QUEUE = "(other)"

Kind = JobEvent.Kind
_WAIT_BEGINS = (
    Kind.ENQUEUED,
    Kind.REQUEUED,
    Kind.RELEASED,
    Kind.RECOVERED,
    Kind.RETRY_SCHEDULED,
    Kind.FENCED,
)
_RUN_ENDS = (Kind.COMPLETED, Kind.FAILED, Kind.RETRY_SCHEDULED)


def follow(bookmark: Path) -> None:
    """Count the events since the last call. The first call only remembers where the timelines end."""
    if not bookmark.exists():
        _keep(bookmark, _last())
        return
    for _ in range(MOST_PAGES):
        after = int(bookmark.read_text() or 0)
        page = _events(after)[:PAGE]
        # Identifiers are given before transactions commit: what follows a young event may not be all.
        settled = list(takewhile(lambda row: row["age"] >= SETTLING, page))
        if settled:
            _keep(bookmark, settled[-1]["pk"])
        for row in settled:
            _count(row)
        if len(settled) < PAGE:
            return


def _last() -> int:
    recent = JobEvent.objects.filter(at__gte=Now() - LOOKED_BACK).order_by("-pk")
    return recent.values_list("pk", flat=True).first() or 0


def _keep(bookmark: Path, pk: int) -> None:
    new = bookmark.with_suffix(".new")
    new.write_text(str(pk))
    new.rename(bookmark)


def _events(after: int) -> QuerySet[Any, Any]:
    job = Job.objects.filter(pk=OuterRef("job_id"))
    before = JobEvent.objects.filter(job_id=OuterRef("job_id"), pk__lt=OuterRef("pk")).order_by("-pk")
    wait_began = Subquery(before.filter(kind__in=_WAIT_BEGINS).values("at")[:1])
    created = Subquery(job.values("created_at")[:1], output_field=DateTimeField())
    due = Subquery(job.values("not_before")[:1], output_field=DateTimeField())
    began = Subquery(before.filter(kind=Kind.CLAIMED, run_epoch=OuterRef("run_epoch")).values("at")[:1])
    waiting = Coalesce(wait_began, created)
    since = Case(
        When(kind=Kind.CLAIMED, due__lte=F("at"), then=Greatest(waiting, "due")),
        When(kind=Kind.CLAIMED, then=waiting),
        When(kind__in=_RUN_ENDS, then=began),
        output_field=DateTimeField(),
    )
    events = JobEvent.objects.filter(pk__gt=after, at__gte=Now() - LOOKED_BACK).order_by("pk")
    return events.annotate(
        queue=Subquery(job.values("queue")[:1]), due=due, took=F("at") - since, age=Now() - F("at")
    ).values("pk", "kind", "queue", "took", "age", "details__silent_seconds")


def _count(row: dict[str, Any]) -> None:
    kind, queue = Kind(row["kind"]), row["queue"] if row["queue"] in settings.QUEUES else OTHER_QUEUE
    metrics.JOB_EVENTS.count(kind=kind.value, queue=queue)
    if row["took"] is not None:
        seconds = row["took"].total_seconds()
        if kind == Kind.CLAIMED:
            metrics.WAIT_SECONDS.observe(seconds, queue=queue)
        else:
            metrics.RUN_SECONDS.observe(seconds, queue=queue, outcome=kind.value)
    silent = row["details__silent_seconds"]
    if kind in {Kind.RECOVERED, Kind.QUARANTINED} and isinstance(silent, int | float):
        metrics.RECOVERY_SECONDS.observe(silent, queue=queue)
