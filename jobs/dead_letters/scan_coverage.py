"""How much of a dead letter queue the last scan saw, in words."""

from __future__ import annotations

from jobs.models import DeadLetterQueue
from opsconsole.kit.counting import exactly
from opsconsole_worker import sqs

# Why a scan of a FIFO queue does not see everything, however long it lasts.
BEHIND = (
    "SQS shows at most the first ten letters of a message group: replay or discard them to see those behind"
)


def unseen(dlq: DeadLetterQueue) -> int:
    """Return about how many messages were in the queue that the last scan did not see."""
    return 0 if dlq.seen is None or dlq.about is None else max(0, dlq.about - dlq.seen)


def unseen_in_words(dlq: DeadLetterQueue) -> str:
    """Return a sentence about the messages that the last scan did not see, or '' when there are none."""
    if not (count := unseen(dlq)):
        return ""
    why = BEHIND if sqs.is_fifo(dlq.url) else "The counts of SQS may lag by a minute"
    return f"About {count:,} more in the dead letter queue of {dlq} were not seen. {why}."


def next_step(dlq: DeadLetterQueue) -> str:
    """Return what to do about the letters behind the first ten of each group, or '' when there are none."""
    if not sqs.is_fifo(dlq.url) or not (behind := unseen_in_words(dlq)):
        return ""
    return (
        f"{behind} Once these have left, the list shows the next ones: choose them there. To replay all in turn, run: python "
        f'manage.py redrive_dlq --queue {dlq.queues[0]} --reason "..."'
    )


def _of_a_full_scan(dlq: DeadLetterQueue, seen: int) -> str:
    """Say what a scan that saw every message means for the depth of now, which may be another number."""
    if dlq.depth in {seen, None}:
        return f"all {seen:,} seen" if seen else "empty"
    if seen and dlq.depth > seen:
        return f"{seen:,} at the last scan, all seen"
    return f"the last scan saw all {seen:,}" if seen else "the last scan found none"


def in_words(dlq: DeadLetterQueue) -> str:
    """Return how much of the queue the last scan saw, such as "1,200 of about 5,000 seen"."""
    if dlq.seen is None or dlq.about is None:
        return "not scanned yet"
    if dlq.full:
        return _of_a_full_scan(dlq, dlq.seen)
    seen = f"{dlq.seen:,} of about {dlq.about:,} seen"
    return f"{seen}; {BEHIND}" if sqs.is_fifo(dlq.url) and unseen(dlq) else seen


def counted(depth: int, dlq: str = "") -> str:
    """Say how many messages SQS counts in a dead letter queue, which need not be what the list of letters shows."""
    return f"SQS counts {exactly(depth, 'dead letter')}" + (f" ({dlq})" if dlq else "")
