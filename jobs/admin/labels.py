"""Badges for the states of jobs, workers, messages and events."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote_plus

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from jobs.bulk.kinds import MemberResult
from jobs.messaging import outbox
from jobs.models import Job, JobEvent, MessageTrouble, Outbox, Status
from jobs.runs import status_wording
from jobs.runs.diagnosis import Diagnosis
from jobs.runs.status_wording import Schedulable
from opsconsole.kit import addresses
from opsconsole.kit.bounded_columns import is_cut
from opsconsole.kit.display import LONGEST_UNBROKEN_BADGE, badge
from opsconsole.kit.job_pages import job_page
from opsconsole.kit.short_ids import short_id

STATUS_TONES: dict[str, str] = {
    Status.PENDING: "waiting",
    Status.IN_PROGRESS: "running",
    Status.COMPLETED: "good",
    Status.FAILED: "bad",
    Status.QUARANTINED: "warning",
    Status.CANCELLED: "quiet",
}

EVENT_TONES: dict[str, str] = {
    JobEvent.Kind.CLAIMED: "running",
    JobEvent.Kind.COMPLETED: "good",
    JobEvent.Kind.RETRY_SCHEDULED: "warning",
    JobEvent.Kind.FAILED: "bad",
    JobEvent.Kind.RECOVERED: "warning",
    JobEvent.Kind.QUARANTINED: "warning",
    JobEvent.Kind.LATE_RESULT_REJECTED: "warning",
    JobEvent.Kind.CLAIM_REFUSED: "warning",
}

# Its kind is older than the progress of runs, which is something else on the same page.
NOTE = "Note"

MESSAGE_TONES: dict[str, str] = {Outbox.State.WAITING: "waiting", Outbox.State.REFUSED: "bad"}


MESSAGE_REASONS = {
    outbox.STALE_JOB_RECOVERY: "recovery of a stale run",
    outbox.RETRY_AFTER_FAILURE: "retry after a failure",
    outbox.OPERATOR_REQUEUE: "requeue by an operator",
    outbox.LOST_MESSAGE: "the message before was lost",
    outbox.GIVEN_BACK: "given back by the worker",
    outbox.RESTORED: "fenced after a restore",
}


def status(value: str) -> SafeString:
    """Return a badge for the status; an unknown status is shown unchanged."""
    return badge(status_wording.of_status(value), STATUS_TONES.get(value, "quiet"))


def job_status(job: Schedulable, now: datetime) -> SafeString:
    """Return a badge for a job's status, which tells a job that may not start yet from one that waits for a worker."""
    return badge(status_wording.SCHEDULED, "quiet") if job.is_scheduled(now) else status(job.status)


def message_trouble(trouble: MessageTrouble) -> SafeString:
    """Return a badge that says what is wrong with the message of a waiting job."""
    return badge(trouble.label.capitalize(), "bad" if trouble.pressing else "warning")


def result(of: MemberResult, page: str, text: str = "") -> SafeString:
    """Return a badge that tells what became of a member, and as what it failed again: a link to that subject, or the error.

    ``page``: the name of the admin pages of the subject, such as ``jobs_deadletter``.
    """
    shown = badge(text or of.label, of.tone)
    if of.error:
        shown += format_html(' <span class="quiet">{}</span>', of.error)
    if not of.again:
        return shown
    url = reverse(f"admin:{page}_change", args=[of.again])
    return shown + format_html(' <a href="{}">as <code>{}</code></a>', url, short_id(of.again))


def trouble(diagnosis: Diagnosis) -> SafeString:
    """Return a badge with the reason why the job is stale, or nothing."""
    if diagnosis.reason is None:
        return SafeString("")
    return badge(diagnosis.reason.label.capitalize(), "bad" if diagnosis.stale else "warning")


def message(outgoing: Outbox) -> SafeString:
    """Return a badge for the state of a message: "Message sent", "Message waiting"."""
    return badge(f"Message {outgoing.state}", MESSAGE_TONES.get(outgoing.state, "quiet"))


def message_reason(reason: str) -> str:
    """Return why a message was sent; workers read the short form. A reason that is a sentence is shown unchanged."""
    return MESSAGE_REASONS.get(reason, reason)


def error_line(error: str | None, longest: int) -> str:
    """Return the first line of an error, cut to this many characters, or ''."""
    return (error or "").strip().partition("\n")[0][:longest]


def customer_link(job: Job) -> SafeString | str:
    """Return the customer linked to the page about them; a cut or missing id has none."""
    if not job.customer_id or is_cut(job.customer_id):
        return job.customer
    address = f"{addresses.fixed('customer')}?id={quote_plus(job.customer_id)}"
    # A line would break behind a hyphen.
    short = (
        ' class="nowrap"' if "-" in job.customer_id and len(job.customer_id) <= LONGEST_UNBROKEN_BADGE else ""
    )
    return mark_safe(f'<a href="{escape(address)}"{short}>{escape(job.customer_id)}</a>')  # noqa: S308 - escaped


def job_link(job_id: Any) -> SafeString:
    """Return the short id linked to the job's page, and a button that copies the whole id."""
    text = str(job_id)
    short = escape(short_id(text))
    return mark_safe(  # noqa: S308 - escaped
        f'<span class="job-id"><a href="{escape(job_page(text))}"><code>{short}</code></a>'
        f'<button type="button" class="copy" data-copy="{escape(text)}" aria-label="Copy id {short}" title="Copy id"></button></span>'
    )


def event_badge(kind: str) -> SafeString:
    """Return what happened, in the words of the timeline; a kind that others wrote stands as it is."""
    label = JobEvent.Kind(kind).label.capitalize() if kind in JobEvent.Kind.values else kind
    return badge(NOTE if kind == JobEvent.Kind.PROGRESS else label, EVENT_TONES.get(kind, "quiet"))
