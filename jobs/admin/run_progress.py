"""How far runs are, as pages show it: a bar, the exact figure beside it, the text, and the age of the report."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobs.models import RunProgress


def last_two(job_id: UUID) -> QuerySet[RunProgress]:
    """Return the progress of the last two runs of a job that reported any, latest first."""
    return RunProgress.objects.filter(job_id=job_id).order_by("-run_epoch")[:2]


def drawn(row: RunProgress) -> RunProgress:
    """Give the template what it shows: ``shown`` is a bar, or ''."""
    row.shown = "" if row.percent is None else bar(row.percent)  # type: ignore[attr-defined]  # read by the template
    return row


def with_percent(jobs: QuerySet[Any]) -> Any:
    """Annotate jobs with the percentage of their current run, in the same statement; null where none was reported."""
    of_run = RunProgress.objects.filter(job_id=OuterRef("pk"), run_epoch=OuterRef("run_epoch"))
    return jobs.annotate(percent=Subquery(of_run.values("percent")))


def percentage(percent: Decimal) -> str:
    """Return 40 % or 40.5 %."""
    whole = percent == percent.to_integral_value()
    return f"{percent:.0f} %" if whole else f"{percent:.1f} %"


def bar(percent: Decimal) -> SafeString:
    """Return a bar with its figure."""
    shown = percentage(percent)
    return format_html(
        '<progress value="{}" max="100" aria-label="{}"></progress> <span class="percent">{}</span>',
        percent,
        shown,
        shown,
    )
