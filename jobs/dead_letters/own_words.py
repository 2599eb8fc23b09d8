"""What one dead letter says of its own failure, where the title of its group leaves out what differs between letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobs.dead_letters import fingerprint, reading, redaction
from jobs.models import DeadLetter, FailureGroup, Job, JobEvent
from opsconsole_worker.working.poison import POISON_ATTRIBUTE

Kind = FailureGroup.Kind
# In characters. The whole of an error is on the page of the job, and that of a body can be downloaded.
LONGEST_SHOWN = 4_000


def of(letter: DeadLetter, job: Job | None = None, events: Sequence[JobEvent] = ()) -> str:
    """Return the error with which this letter's run failed, at most ``LONGEST_SHOWN`` characters; '' where only its group tells it.

    ``job`` and ``events``: the job that it names and what happened to it, for those who may see jobs. An error of theirs is of this
    letter only if it has the title of its group: the job may have failed otherwise since.
    """
    words = next(_own(letter, job, events), "").strip()
    return words if len(words) <= LONGEST_SHOWN else f"{words[: LONGEST_SHOWN - 1]}…"


def _own(letter: DeadLetter, job: Job | None, events: Sequence[JobEvent]) -> Iterator[str]:
    if poison := redaction.redact_attributes(letter.attributes).get(POISON_ATTRIBUTE):
        yield poison
    kind, title = letter.group.kind, letter.group.title
    if kind not in {Kind.JOB_ERROR, Kind.GIVEN_REASON, Kind.NOT_DELIVERED}:
        return
    message = reading.of_letter(letter)
    if kind == Kind.NOT_DELIVERED:
        if delivery := message.shown_delivery:
            yield fingerprint.of_delivery(delivery, delivery.message)
        return
    of_run = (event.reason for event in events if event.run_epoch == letter.run_epoch)
    errors = [job.error_message if job else "", *of_run, reading.given_reason(message)]
    yield from (error for error in errors if error and fingerprint.title_of(kind, error) == title)
