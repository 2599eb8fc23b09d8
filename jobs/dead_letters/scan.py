"""The scan of a queue, which loses nothing: receive messages, hand them over and return them (SQS can't be peeked).

Messages are hidden for a limited time during the scan, so that each receive brings different ones. Those that were
not deleted are returned at the end. After a crash they return when that time is over. Several receives run side by side,
and the next ones while a page is worked on.

A FIFO queue hands out at most ten messages of a group while any of them is hidden. It is therefore scanned in rounds:
when messages were deleted, the others are returned and those behind them are received, until a round deletes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from jobs.dead_letters.side_by_side import Receives, side_by_side
from opsconsole_worker import sqs
from opsconsole_worker.sqs import Received

logger = logging.getLogger("jobs.dead_letters")

# Takes a page of messages and returns the ids of those that it deleted.
Work = Callable[[Sequence[Received]], Collection[str]]

# A long poll asks all SQS servers; a short one asks only some and may find nothing although there are messages.
WAIT_SECONDS = 1
MOST_EMPTY_READS = 3
# The size of a page: large enough that its queries cost little, small enough for memory.
PAGE_MESSAGES = 100
PAGE_CHARACTERS = 4_000_000
RECEIVES_AT_ONCE = 4
# Messages stay hidden for longer than the scan, so that it never receives again what it holds.
MARGIN_SECONDS = 30
# One empty mapping for all held messages.
_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits at which a scan stops although there is more. The cluster ends a task after 90 seconds."""

    seconds: float = 40.0
    messages: int = 20_000


@dataclass
class ScanResult:
    """How many different messages a scan saw and deleted. ``exhausted``: it stopped because no more came."""

    seen: int = 0
    deleted: int = 0
    exhausted: bool = False
    why_stopped: str = ""


def scan(
    queue_url: str, about: int, work: Work, budget: Budget, finish: Callable[[], Collection[str]] = tuple
) -> ScanResult:
    """Hand all messages of the queue to ``work``, page by page, until the budget is used up.

    ``finish`` is called at the end, also after an error: it ends what ``work`` has begun, and returns what it deleted.

    Each message of a page has the handle of its last receive. ``about``: the approximate number of messages, as SQS
    reports it. Raise ``sqs.QueueError`` when receiving fails.
    """
    begun = _Scan(queue_url, about, work, budget)
    try:
        begun.run()
    finally:
        begun.hold_the_rest()
        begun.done.seen = len(begun.seen)
        try:
            begun.note_deleted(finish())
        finally:
            _give_back(list(begun.held.values()))
    return begun.done


@dataclass
class _Scan:
    """A scan in progress. ``held``: the last handle of each held message, the only one that certainly works.

    ``page``: messages that were received and not handed over yet. Only these keep their bodies in memory. ``largest``: the
    characters of the largest body so far; ``came_full``: no receive of the last ones brought less than it could.
    """

    queue_url: str
    about: int
    work: Work
    budget: Budget
    held: dict[str, Received] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    page: dict[str, Received] = field(default_factory=dict)
    deleted_in_round: int = 0
    empty_reads: int = 0
    largest: int = 0
    came_full: bool = False
    coming: Receives | None = None
    done: ScanResult = field(default_factory=ScanResult)

    @property
    def in_order(self) -> bool:
        return sqs.is_fifo(self.queue_url)

    def run(self) -> None:
        stop_at = monotonic() + self.budget.seconds
        with ThreadPoolExecutor(RECEIVES_AT_ONCE, thread_name_prefix="receive") as pool:
            self._round(pool, stop_at)
            while self._more_may_be_behind():
                _give_back(list(self.held.values()))
                self.held.clear()
                self.done.exhausted, self.done.why_stopped, self.empty_reads = False, "", 0
                self._round(pool, stop_at)

    def hold_the_rest(self) -> None:
        """Hold what is still coming after an error, so that it can be returned to the queue."""
        if self.coming:
            self._take(self.coming.wait()[0])

    def _more_may_be_behind(self) -> bool:
        """Tell whether the last round opened the way to messages that wait behind those it deleted."""
        return self.in_order and self.done.exhausted and self.deleted_in_round > 0

    def _round(self, pool: ThreadPoolExecutor, stop_at: float) -> None:
        self.deleted_in_round = 0
        self._receive_more(pool)
        while self.coming:
            new, some_came, failure = self._take_what_came(self.coming)
            if failure:
                # Messages received before the error are still stored.
                self._hand_over(self._taken_page())
                raise failure
            full = self._taken_page() if self._page_is_full() else []
            if self.in_order:
                # What is deleted opens the way to the next ones.
                self._hand_over(full)
            self._judge(repeated=some_came and not new, out_of_time=monotonic() >= stop_at)
            if not self.done.why_stopped:
                self._receive_more(pool)
            if not self.in_order:
                self._hand_over(full)
        self._hand_over(self._taken_page())

    def _take_what_came(self, coming: Receives) -> tuple[int, bool, sqs.QueueError | None]:
        """Return how many messages were not held before, whether any came, and the error of a receive."""
        received, failure = coming.wait()
        self.coming = None
        self.empty_reads = 0 if received else self.empty_reads + 1
        self.came_full = len(received) == coming.most
        return self._take(received), bool(received), failure

    def _receive_more(self, pool: ThreadPoolExecutor) -> None:
        self.coming = Receives(pool, self._receives_at_once(), self._receive)

    def _receive(self) -> list[Received]:
        hidden_for = int(self.budget.seconds) + MARGIN_SECONDS
        return sqs.receive(self.queue_url, wait_seconds=WAIT_SECONDS, visibility_seconds=hidden_for)

    def _receives_at_once(self) -> int:
        """Return how many receives should find messages and have room: in the budget, in the page and in memory.

        At most ``RECEIVES_AT_ONCE`` of them run at once, while the page before is worked on.

        Where order counts it is one, as it is after one that found nothing and before the sizes are known.
        """
        if self.in_order or self.empty_reads or not self.largest:
            return 1
        seen, room = len(self.seen), PAGE_MESSAGES - len(self.page)
        # Where all came full, there may be more than SQS says; further ones that find nothing wait for a second each.
        left = max(self.about - seen, RECEIVES_AT_ONCE * sqs.BATCH_ENTRIES if self.came_full else 0)
        messages = min(left, self.budget.messages - seen, room)
        in_memory = PAGE_CHARACTERS // (self.largest * sqs.BATCH_ENTRIES)
        return max(1, min(-(-messages // sqs.BATCH_ENTRIES), in_memory))

    def _take(self, received: Sequence[Received]) -> int:
        """Hold these messages, add those not handed over yet to the page, and return how many were not held."""
        before = len(self.held)
        for message in received:
            if message.message_id not in self.seen or message.message_id in self.page:
                self.page[message.message_id] = message
            self.seen.add(message.message_id)
            self.largest = max(self.largest, len(message.body))
            self.held[message.message_id] = without_contents(message)
        return len(self.held) - before

    def _page_is_full(self) -> bool:
        characters = sum(len(message.body) for message in self.page.values())
        return len(self.page) >= PAGE_MESSAGES or characters >= PAGE_CHARACTERS

    def _taken_page(self) -> list[Received]:
        """Return the messages of the page, and begin the next one."""
        page, self.page = list(self.page.values()), {}
        return page

    def _hand_over(self, page: Sequence[Received]) -> None:
        if not page:
            return
        self.note_deleted(self.work(page))

    def note_deleted(self, deleted: Collection[str]) -> None:
        self.done.deleted += len(deleted)
        self.deleted_in_round += len(deleted)
        for message_id in deleted:
            del self.held[message_id]

    def _judge(self, *, repeated: bool, out_of_time: bool) -> None:
        # Once a FIFO queue has handed out messages, an empty read means that the others wait behind these.
        enough = 1 if len(self.seen) >= self.about or (self.in_order and self.held) else MOST_EMPTY_READS
        if self.empty_reads >= enough:
            self.done.exhausted, self.done.why_stopped = True, "no more messages came"
        elif repeated:
            self.done.why_stopped = "the same messages came again"
        elif out_of_time:
            self.done.why_stopped = f"{self.budget.seconds:.0f} seconds were used up"
        elif len(self.seen) >= self.budget.messages:
            self.done.why_stopped = f"{self.budget.messages:,} messages were seen"


def without_contents(message: Received) -> Received:
    """Return the message without its large fields; the rest is enough to return it to the queue or to delete it."""
    return replace(message, body="", attributes=_NOTHING, system_attributes=_NOTHING, sent_at=None)


def _give_back(held: Sequence[Received]) -> None:
    """Make the messages visible again. When that fails, they stay hidden until their time is over."""
    left = _release_all(_release_all(held))
    if left:
        logger.warning(
            "%d messages could not be returned to the queue; they become visible when their time is over.",
            len(left),
        )


def _release_all(held: Sequence[Received]) -> list[Received]:
    """Return all messages to the queue in batches; return those that failed."""
    starts = range(0, len(held), sqs.BATCH_ENTRIES)
    failed = side_by_side(_release, [held[start : start + sqs.BATCH_ENTRIES] for start in starts])
    return [message for some in failed for message in some]


def _release(batch: Sequence[Received]) -> list[Received]:
    try:
        visible = sqs.release_batch(batch)
    except sqs.QueueError as error:
        logger.warning("Messages could not be returned to the queue: %s", error)
        return list(batch)
    return [message for message in batch if message.message_id not in visible]
