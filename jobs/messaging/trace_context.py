"""The trace in which a job was accepted, on its way to the worker: kept on the timeline, and sent beside each message of the job.

The message has it as an attribute of its own, which workers that know nothing of it ignore; the body is as ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from jobs.messaging.leases import Letter
from jobs.models import JobEvent, Outbox
from opsconsole.kit import tracing
from opsconsole_worker.sqs import Attribute
from opsconsole_worker.trace_parent import ATTRIBUTE, checked


def details() -> dict[str, str]:
    """Return what the timeline keeps of the present trace; nothing without one."""
    header = tracing.header()
    return {ATTRIBUTE: header} if header else {}


def of_letters(letters: Sequence[Letter]) -> Mapping[int, Mapping[str, Attribute]]:
    """Return the attributes of the messages whose jobs were accepted in a trace, by letter. Nothing is read without traces."""
    if not tracing.is_on():
        return {}
    of_job: dict[UUID, list[int]] = defaultdict(list)
    for letter in letters:
        if letter.destination == Outbox.Destination.QUEUE:
            of_job[letter.message.job_id].append(letter.id)
    if not of_job:
        return {}
    events: Any = JobEvent.objects.filter(
        job_id__in=list(of_job), kind=JobEvent.Kind.ENQUEUED, details__has_key=ATTRIBUTE
    ).values_list("job_id", f"details__{ATTRIBUTE}")
    return {
        letter: {ATTRIBUTE: Attribute(kept)}
        for job_id, kept in events
        if checked(kept)
        for letter in of_job[job_id]
    }
