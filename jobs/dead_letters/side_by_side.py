"""Calls to SQS side by side, because each of them mostly waits. The threads use SQS only, never the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from opsconsole_worker import sqs
from opsconsole_worker.sqs import Received

# At most half of the connections that the client keeps.
THREADS = 8

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def side_by_side(call: Callable[[Asked], Answer], asked: Sequence[Asked]) -> list[Answer]:
    """Return the answers in the order of what was asked. ``call`` must not use the database."""
    if len(asked) < 2:
        return [call(each) for each in asked]
    with ThreadPoolExecutor(min(THREADS, len(asked)), thread_name_prefix="dead-letters") as pool:
        return list(pool.map(call, asked))


class Receives:
    """Receives that run side by side, and while their caller does something else; ``most``: how many messages may come."""

    def __init__(self, pool: ThreadPoolExecutor, number: int, receive: Callable[[], list[Received]]) -> None:
        self.most = number * sqs.BATCH_ENTRIES
        self._calls: list[Future[list[Received]]] = [pool.submit(receive) for _ in range(number)]

    def wait(self) -> tuple[list[Received], sqs.QueueError | None]:
        """Return all messages that came, and the error of a call that failed, if any did: both may be."""
        messages: list[Received] = []
        failure: sqs.QueueError | None = None
        for call in self._calls:
            try:
                messages += call.result()
            except sqs.QueueError as error:
                failure = error
        return messages, failure
