"""The dispatcher: sends the outbox to SQS in pages, ten messages per call, eight calls at once (I2).

While a page is being sent, the one before is recorded and the next one is leased, as long as all goes well.
Sending is at-least-once: after a crash between sending and recording, the page is due again when its lease ends, and
the claim refuses the second copy (I1). The threads use SQS only, never the database.
"""

from __future__ import annotations

import logging
import random
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from math import inf
from time import monotonic
from typing import Any, TypeAlias

from django.conf import settings

from jobs.messaging import leases, trace_context
from jobs.messaging.leases import LEASE, Fate, Letter, Page
from jobs.models import Outbox
from opsconsole.kit import activity, metrics, tracing
from opsconsole_worker import sqs
from opsconsole_worker.database.unchecked_texts import UnreadableText
from opsconsole_worker.doubling import doubled
from opsconsole_worker.messages import REASON_LENGTH

# Of messages, by the id of their letter.
Attributes: TypeAlias = Mapping[int, Mapping[str, sqs.Attribute]]
PAGE = 500
THREADS = 8
# What SQS takes as the name of a group and as a deduplication id: ids of text may be longer, or hold a blank or an umlaut.
_TOKEN = re.compile("[!-~]{1,128}")
# Of a pass, the first page is one call per thread: nothing else is done until it shows whether the queues accept messages.
FIRST_PAGE = THREADS * sqs.BATCH_ENTRIES
FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(minutes=5)
# If a page takes longer than this, the next one is leased only after it: its lease would run while it waits.
QUICK_SECONDS = LEASE.total_seconds() / 10


@dataclass
class Dispatched:
    """The counts of one pass, in rows. ``waiting_on`` says why a target ('default/queue') accepts nothing now."""

    sent: int = 0
    dropped: int = 0
    held: int = 0
    failed: int = 0
    refused: int = 0
    taken: int = 0
    waiting_on: dict[str, str] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {self.dropped} dropped, {self.held} held until due, "
            f"{self.failed} to be tried again, {self.refused} refused"
        )


@dataclass(frozen=True)
class Batch:
    """Letters for one target that are sent together: by one call, or by some where their messages are large."""

    target: str
    queue_url: str
    letters: Sequence[Letter]
    traces: Attributes


@dataclass
class Sending:
    """A leased page whose calls were begun. ``fates`` are those of letters for which no call is made."""

    page: Page
    fates: list[Fate]
    calls: list[Future[list[Fate]]]

    def wait(self) -> list[Fate]:
        return self.fates + [fate for call in self.calls for fate in call.result()]


def dispatch(limit: int = 1_000, *, seconds: float = inf) -> Dispatched:
    """Send at most ``limit`` due messages. Failures are in the result and in the rows, not raised.

    After so many ``seconds`` no further page is leased, however many messages are due.
    """
    done = Dispatched()
    last_page_at = monotonic() + seconds
    begun: deque[Sending] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="dispatch") as pool:
        goes_well = False
        try:
            while done.taken < limit and monotonic() <= last_page_at:
                began = monotonic()
                # A target that failed is left out, so that its rows never starve the others.
                page = leases.take(_size(done, limit), without=done.waiting_on)
                if not page.size:
                    break
                _count_taken(page, done)
                begun.append(_begin(pool, page, done, began + LEASE.total_seconds() / 2))
                _finish_all_but(1, begun, done)
                # Until a target has shown that it accepts messages, no second page counts an attempt.
                if not goes_well or done.waiting_on:
                    _finish_all_but(0, begun, done)
                goes_well = not done.waiting_on and monotonic() < began + QUICK_SECONDS
        finally:
            # Also when the next page can't be leased: what was sent must not be sent again.
            _finish_all_but(0, begun, done)
    return done


def _size(done: Dispatched, limit: int) -> int:
    """Return the size of the next page. It grows with each, so that it is leased in the time that the one before takes to send."""
    return min(FIRST_PAGE + done.taken, PAGE, limit - done.taken)


def _finish_all_but(number: int, begun: deque[Sending], done: Dispatched) -> None:
    while len(begun) > number:
        _finish(begun.popleft(), done)


def _finish(sending: Sending, done: Dispatched) -> None:
    """Record what became of the page's messages, once all its calls have ended."""
    fates = sending.wait()
    if fates:
        leases.settle(sending.page, fates)
        _log(sending.page, fates)
    _count(fates, done)


def _log(page: Page, fates: Sequence[Fate]) -> None:
    """Tell what became of each message. Those of one target with one outcome share lines: a line costs more than its facts."""
    by_id = {letter.id: letter for letter in page.letters}
    outcomes: dict[tuple[str, Outbox.State], list[dict[str, Any]]] = defaultdict(list)
    for fate in fates:
        letter = by_id[fate.id]
        outcomes[letter.target, fate.state].append(
            {
                "job": letter.message.job_id,
                "run": letter.message.run_epoch,
                "message": fate.message_id or None,
                "why": fate.error or None,
            }
        )
    for (target, state), rows in outcomes.items():
        metrics.MESSAGES.count(len(rows), target=target, outcome=state.value)
        # Of those that wait, their target is told when it stops and begins to accept messages.
        if state != Outbox.State.WAITING:
            level = logging.INFO if state == Outbox.State.SENT else logging.WARNING
            activity.done_to_each(f"message {state}", rows, level=level, to=target)


def _count_taken(page: Page, done: Dispatched) -> None:
    done.taken += page.size
    done.dropped += page.dropped
    done.held += page.held


def _count(fates: Sequence[Fate], done: Dispatched) -> None:
    states = Counter(fate.state for fate in fates)
    done.sent += states[Outbox.State.SENT]
    done.failed += states[Outbox.State.WAITING]
    done.refused += states[Outbox.State.REFUSED]


def _begin(pool: ThreadPoolExecutor, page: Page, done: Dispatched, stop_at: float) -> Sending:
    """Begin to send the page's messages; after ``stop_at`` no call begins."""
    unreadable = {letter.id: reason for letter in page.letters if (reason := _unreadable(letter))}
    fates = [Fate(key, Outbox.State.REFUSED, error=reason) for key, reason in unreadable.items()]
    batches: list[Batch] = []
    traces = trace_context.of_letters(page.letters)
    for target, letters in _by_target(each for each in page.letters if each.id not in unreadable).items():
        url = _url(letters[0])
        if url is None:
            done.waiting_on[target] = _unconfigured(letters[0])
            fates += [_later(letter, done.waiting_on[target], LONGEST_BACKOFF) for letter in letters]
        else:
            starts = range(0, len(letters), sqs.BATCH_ENTRIES)
            batches += [
                Batch(target, url, letters[start : start + sqs.BATCH_ENTRIES], traces) for start in starts
            ]
    return Sending(page, fates, [pool.submit(_send, batch, done, stop_at) for batch in batches])


def _by_target(letters: Iterable[Letter]) -> dict[str, list[Letter]]:
    targets: dict[str, list[Letter]] = defaultdict(list)
    for letter in letters:
        targets[letter.target].append(letter)
    return targets


def _url(letter: Letter) -> str | None:
    queue = settings.QUEUES.get(letter.queue)
    if queue is None:
        return None
    url: str | None = queue.url if letter.destination == Outbox.Destination.QUEUE else queue.dlq_url
    return url


def _unconfigured(letter: Letter) -> str:
    where = "SQS_QUEUE_URL and SQS_DLQ_URL" if letter.queue == "default" else "OPSCONSOLE_QUEUES"
    if letter.queue in settings.QUEUES:
        return f"Queue '{letter.queue}' has no dead letter queue configured: set it in {where}."
    return f"There is no queue '{letter.queue}' configured: set it in {where}."


def outgoing(letter: Letter, url: str, attributes: Mapping[str, sqs.Attribute] | None = None) -> sqs.Outgoing:
    """Return the SQS message of a row of the outbox, as the queue at this address takes it."""
    key, body, beside = str(letter.id), letter.message.to_body(), attributes or {}
    if not sqs.is_fifo(url):
        return sqs.Outgoing(key=key, body=body, attributes=beside)
    job_id, epoch = letter.message.job_id, letter.message.run_epoch
    # A re-send is a new message; a repetition after a crash is the same one, and SQS drops it.
    dedup_id = f"{job_id}:{epoch}:{letter.destination}:{letter.resends}"
    return sqs.Outgoing(
        key=key, body=body, group_id=_token(str(job_id)), dedup_id=_token(dedup_id), attributes=beside
    )


def _token(text: str) -> str:
    """Return a name of a group or a deduplication id that SQS takes, always the same for the same text."""
    return text if _TOKEN.fullmatch(text) else sha256(text.encode()).hexdigest()


def _send(batch: Batch, done: Dispatched, stop_at: float) -> list[Fate]:
    """Make the messages of a batch and send them, in a thread of the pool: so the database never waits for their texts."""
    messages = [outgoing(letter, batch.queue_url, batch.traces.get(letter.id)) for letter in batch.letters]
    fates: list[Fate] = []
    for entries in sqs.split_batches(messages):
        # In the order of the letters: those before have their fates.
        letters = batch.letters[len(fates) : len(fates) + len(entries)]
        fates += _send_entries(batch, letters, entries, done, stop_at)
    return fates


def _unreadable(letter: Letter) -> str | None:
    """Return why no message can be made of the job's row; a message with other words could be about another customer."""
    message = letter.message
    texts = {"job_id": message.job_id, "customer_id": message.customer_id, "priority": message.priority}
    named = [name for name, text in texts.items() if isinstance(text, UnreadableText)]
    return f"{' and '.join(named)} of the job's row can't be read: not UTF-8." if named else None


def _send_entries(
    batch: Batch, letters: Sequence[Letter], entries: Sequence[sqs.Outgoing], done: Dispatched, stop_at: float
) -> list[Fate]:
    """Send what fits into one call; the sets and dicts of ``done`` are only added to."""
    if batch.target in done.waiting_on:
        return [_later(letter, done.waiting_on[batch.target]) for letter in letters]
    if monotonic() > stop_at:
        return [_later(letter, "SQS was too slow: it was not tried within the lease.") for letter in letters]
    try:
        about: tracing.Attributes = {"opsconsole.target": batch.target, "opsconsole.messages": len(entries)}
        with tracing.span("outbox batch", about):
            results = sqs.send_batch(batch.queue_url, entries)
    except sqs.QueueMisconfigured as error:
        done.waiting_on[batch.target] = str(error)
        return [_later(letter, str(error), LONGEST_BACKOFF) for letter in letters]
    except sqs.QueueError as error:
        done.waiting_on[batch.target] = str(error)
        return [_later(letter, str(error)) for letter in letters]
    done.reached.add(batch.target)
    return [_fate(letter, result) for letter, result in zip(letters, results, strict=True)]


def _fate(letter: Letter, result: sqs.SendResult) -> Fate:
    if result.error is None:
        return Fate(letter.id, Outbox.State.SENT, message_id=result.message_id or "")
    if result.permanent:
        return Fate(letter.id, Outbox.State.REFUSED, error=result.error[:REASON_LENGTH])
    return _later(letter, result.error)


def _later(letter: Letter, error: str, pause: timedelta | None = None) -> Fate:
    pause = pause or backoff(letter.attempts)
    return Fate(
        letter.id,
        Outbox.State.WAITING,
        error=error[:REASON_LENGTH],
        pause=pause * random.uniform(0.9, 1.1),
    )


def backoff(attempts: int) -> timedelta:
    """Return the pause after this many tries: one second, doubled each time, at most five minutes."""
    return doubled(FIRST_BACKOFF, attempts - 1, LONGEST_BACKOFF)
