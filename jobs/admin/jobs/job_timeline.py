"""The timeline of a job: its events and the messages that the console sent about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from typing import Any

from django.db.models import QuerySet
from django.utils.safestring import SafeString

from jobs.admin import labels
from jobs.models import JobEvent, Outbox
from jobs.models.job import JobWithEvidence

EVENTS_SHOWN = 300
# Of all events together, so that a page stays below a megabyte or two.
MOST_CHARACTERS = 500_000
TIDY = {"note", "reference", "late", "once"}


@dataclass(frozen=True)
class TimelineEntry:
    """One line of the timeline, from an event or an outgoing message."""

    at: datetime
    what: SafeString
    run: int | None
    actor: str
    reason: str = ""
    note: str = ""
    reference: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    event: JobEvent | None = None


def events_that_fit(newest_first: Sequence[JobEvent]) -> int:
    """Return how many events a page can show, of which each may be as long as its columns are read."""
    lengths = accumulate(len(event.reason) + len(str(event.details)) for event in newest_first)
    fit = sum(length <= MOST_CHARACTERS for length in lengths)
    return min(max(fit, 1), EVENTS_SHOWN)


def messages_of(job: JobWithEvidence) -> QuerySet[Outbox]:
    """Return the job's outgoing messages, newest first, as many as a page shows."""
    return Outbox.objects.filter(job_id=job.pk).order_by("-id")[:EVENTS_SHOWN]


def timeline(events: Iterable[JobEvent], messages: Iterable[Outbox]) -> list[TimelineEntry]:
    """Return events and messages, newest first."""
    entries = [_of_event(event) for event in reversed(list(events))]
    entries += [_of_message(message) for message in messages]
    # Sorted before it is reversed, so that events of one moment keep the order in which they were written.
    return sorted(entries, key=lambda entry: entry.at)[::-1]


def _of_event(event: JobEvent) -> TimelineEntry:
    details = event.details if isinstance(event.details, dict) else {"details": event.details}
    return TimelineEntry(
        at=event.at,
        what=labels.event_badge(event.kind),
        run=event.run_epoch,
        actor=event.actor,
        reason=event.reason,
        note=str(details.get("note", "")),
        reference=str(details.get("reference", "")),
        details={
            key: value for key, value in details.items() if key not in TIDY or (key == "late" and value)
        },
        event=event,
    )


def _of_message(message: Outbox) -> TimelineEntry:
    where = "dead letter queue of " if message.destination == Outbox.Destination.DLQ else ""
    details: dict[str, Any] = {"attempts": message.attempts, "wanted_at": message.created_at.isoformat()}
    if message.resends:
        details["resends"] = message.resends
    if message.message_id:
        details["message_id"] = message.message_id
    if message.last_error:
        details["last_error"] = message.last_error
    return TimelineEntry(
        at=message.sent_at or message.created_at,
        what=labels.message(message),
        run=message.run_epoch,
        actor="dispatcher",
        reason=labels.message_reason(message.reason),
        note=f"to {where}queue {message.queue}" if not where else f"to the {where}{message.queue}",
        details=details,
    )
