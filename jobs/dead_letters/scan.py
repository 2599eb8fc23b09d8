"""Look through a queue without losing anything: receive, hand over, give back (there is no peeking in SQS).

Messages are hidden for a finite time while the scan goes on, so that each receive brings others; what is not
deleted is given back at once at the end. A crash in between gives them back when that time is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from jobs import sqs
from jobs.sqs import Received

logger = logging.getLogger("jobs.dead_letters")

# Takes a page of messages in hand; answers with the ids of those that it has deleted.
Work = Callable[[Sequence[Received]], Collection[str]]

# A long poll asks all of SQS's hosts; a short one asks some, and may find nothing where there is something.
WAIT_SECONDS = 1
MOST_EMPTY_READS = 3
# What is handed over together: enough to make a page's queries count little, little enough for memory.
PAGE_MESSAGES = 100
PAGE_CHARACTERS = 4_000_000
# Longer than the scan: nothing may come back to it of what it holds.
MARGIN_SECONDS = 30
# One for all that are held.
_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a scan stops although there is more. The cluster ends a task after 90 seconds."""

    seconds: float = 40.0
    messages: int = 20_000


@dataclass
class Scanned:
    """What a scan saw: different messages. ``exhausted``: it stopped because nothing more came."""

    seen: int = 0
    deleted: int = 0
    exhausted: bool = False
    why_stopped: str = ""


def scan(queue_url: str, about: int, work: Work, budget: Budget) -> Scanned:
    """Hand all messages of the queue to ``work``, page by page, until the budget is used up.

    A page is up to ten receives; each of its messages bears the last handle that it was received with.

    ``about``: how many there are, as far as SQS tells. Raises ``sqs.QueueError`` when receiving fails.
    """
    begun = _Scan(queue_url, about, work, budget)
    try:
        begun.run()
    finally:
        begun.done.seen = len(begun.seen)
        _give_back(list(begun.held.values()))
    return begun.done


@dataclass
class _Scan:
    """A scan that goes on. ``held``: the last handle of each message in hand, which alone surely counts.

    ``page``: what was received and not handed over yet; beyond it no body is kept.
    """

    queue_url: str
    about: int
    work: Work
    budget: Budget
    held: dict[str, Received] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    page: dict[str, Received] = field(default_factory=dict)
    empty_reads: int = 0
    done: Scanned = field(default_factory=Scanned)

    def run(self) -> None:
        stop_at = monotonic() + self.budget.seconds
        hidden_for = int(self.budget.seconds) + MARGIN_SECONDS
        try:
            while not self.done.why_stopped:
                received = sqs.receive(
                    self.queue_url, wait_seconds=WAIT_SECONDS, visibility_seconds=hidden_for
                )
                self.empty_reads = 0 if received else self.empty_reads + 1
                new = self._take(received)
                if self._page_is_full():
                    self._hand_over()
                self._judge(repeated=bool(received) and not new, out_of_time=monotonic() >= stop_at)
        except sqs.QueueError:
            # What was received before is stored all the same.
            self._hand_over()
            raise
        self._hand_over()

    def _take(self, received: Sequence[Received]) -> int:
        """Hold these messages, and put those on the page that were not handed over yet; how many are new."""
        before = len(self.seen)
        for message in received:
            if message.message_id not in self.seen or message.message_id in self.page:
                self.page[message.message_id] = message
            self.seen.add(message.message_id)
            self.held[message.message_id] = _handle_of(message)
        return len(self.seen) - before

    def _page_is_full(self) -> bool:
        characters = sum(len(message.body) for message in self.page.values())
        return len(self.page) >= PAGE_MESSAGES or characters >= PAGE_CHARACTERS

    def _hand_over(self) -> None:
        page, self.page = list(self.page.values()), {}
        if not page:
            return
        deleted = self.work(page)
        self.done.deleted += len(deleted)
        for message_id in deleted:
            del self.held[message_id]

    def _judge(self, *, repeated: bool, out_of_time: bool) -> None:
        enough = 1 if len(self.seen) >= self.about else MOST_EMPTY_READS
        if self.empty_reads >= enough:
            self.done.exhausted, self.done.why_stopped = True, "nothing more came"
        elif repeated:
            self.done.why_stopped = "the same messages came again"
        elif out_of_time:
            self.done.why_stopped = f"{self.budget.seconds:.0f} seconds were over"
        elif len(self.seen) >= self.budget.messages:
            self.done.why_stopped = f"{self.budget.messages:,} messages were seen"


def _handle_of(message: Received) -> Received:
    """The message without what is large: enough to give it back."""
    return replace(message, body="", attributes=_NOTHING, system_attributes=_NOTHING, sent_at=None)


def _give_back(held: Sequence[Received]) -> None:
    """Make the messages visible; those that could not be stay hidden until their time is over."""
    left = _release_all(_release_all(held))
    if left:
        logger.warning("%d messages could not be given back; they return by themselves.", len(left))


def _release_all(held: Sequence[Received]) -> list[Received]:
    """Give all back in batches; those that could not be."""
    starts = range(0, len(held), sqs.BATCH_ENTRIES)
    return [message for start in starts for message in _release(held[start : start + sqs.BATCH_ENTRIES])]


def _release(batch: Sequence[Received]) -> list[Received]:
    try:
        visible = sqs.release_batch(batch)
    except sqs.QueueError as error:
        logger.warning("Messages could not be given back: %s", error)
        return list(batch)
    return [message for message in batch if message.message_id not in visible]
