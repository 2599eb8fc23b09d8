"""The rows of what will happen to each stale run, as markup: a template takes several times as long for fifty of them."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from jobs.recovery.outlook import Outlook
from opsconsole.kit.job_pages import job_page
from opsconsole.kit.short_ids import short_id

_ROW = (
    '<tr><td data-label="Job"><a href="{}"><code>{}</code></a></td><td data-label="Customer" class="long">{}</td>'
    '<td data-label="Run">{}</td><td data-label="Decision">{}</td><td data-label="Why">{}</td></tr>'
)


def decision_rows(outlooks: Iterable[Outlook]) -> SafeString:
    """Return a row per run, with a link to its job."""
    return format_html_join("\n", _ROW, (_cells(each) for each in outlooks))


def _cells(of: Outlook) -> tuple[object, ...]:
    return (
        job_page(of.job.pk),
        short_id(of.job.pk),
        of.job.customer,
        of.job.run_epoch,
        capfirst(of.verb),
        of.why,
    )
