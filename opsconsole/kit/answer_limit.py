"""The time after which a process that serves pages stops waiting for an answer of the database.

The limit of statements is kept by the server, which must have received the statement. A pooler whose connections are all in use
keeps a statement for two minutes by default, and a host that lost its power never answers. So the client's end of the
connection is closed when no answer has come for some seconds longer: the page answers 503, and its thread is free.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

# Longer than the server's own limit, which gives the better answer.
MARGIN_SECONDS = 3.0
LOOK_EVERY_SECONDS = 0.5
# What follows in the same request, such as the page that tells of the failure, must not wait for as long again.
SHORT_SECONDS = 1.0
SHORT_FOR_SECONDS = 5.0


@dataclass(eq=False)
class _Awaited:
    """An answer that a thread waits for. ``session``: the connection of psycopg."""

    session: Any
    until: float
    overdue: bool = False


class AnswerLimit:
    """Closes connections whose answer is overdue, in a thread that starts with the first statement of the process."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._awaited: set[_Awaited] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # Set while the thread has something to look at. A process that asks nothing is not woken.
        self._asking = threading.Event()
        self._of_thread = threading.local()

    def guard(self, session: Any) -> None:
        """Limit how long this connection waits for any answer."""
        wait: Callable[..., Any] = session.wait

        def limited(*arguments: Any, **options: Any) -> Any:
            with self._limit(session):
                return wait(*arguments, **options)

        session.wait = limited

    @contextmanager
    def _limit(self, session: Any) -> Iterator[None]:
        now = time.monotonic()
        short = now < getattr(self._of_thread, "short_until", 0.0)
        answer = _Awaited(session, now + (SHORT_SECONDS if short else self.seconds + MARGIN_SECONDS))
        with self._lock:
            self._awaited.add(answer)
            self._watch()
        try:
            yield
        finally:
            with self._lock:
                self._awaited.discard(answer)
            if answer.overdue:
                self._of_thread.short_until = time.monotonic() + SHORT_FOR_SECONDS

    def _watch(self) -> None:
        # After a fork, the thread of the parent is not alive here.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._close_overdue, name="answer limit", daemon=True)
            self._thread.start()
        if not self._asking.is_set():
            self._asking.set()

    def _close_overdue(self) -> None:
        while True:
            self._asking.wait()
            time.sleep(LOOK_EVERY_SECONDS)
            # With the lock, so that no connection is closed that has just got its answer.
            with self._lock:
                for answer in self._awaited:
                    if not answer.overdue and answer.until < time.monotonic():
                        answer.overdue = True
                        _shut(answer.session)
                if not self._awaited:
                    self._asking.clear()


# Set in processes that serve pages.
_of_process: AnswerLimit | None = None


def limit_answers(seconds: float) -> None:
    """Limit the connections that this process opens from now on."""
    global _of_process  # noqa: PLW0603 - one per process, set at its start
    _of_process = AnswerLimit(seconds)


def guard(session: Any) -> None:
    """Limit how long a new connection waits for answers, if this process serves pages."""
    if _of_process:
        _of_process.guard(session)


def _after_fork() -> None:
    # The thread stays in the parent, and so may the lock that it held.
    if _of_process:
        limit_answers(_of_process.seconds)


os.register_at_fork(after_in_child=_after_fork)


def _shut(session: Any) -> None:
    """End the connection such that the thread that waits for its answer gets an error at once."""
    with suppress(OSError), socket.socket(fileno=os.dup(session.fileno())) as connected:
        connected.shutdown(socket.SHUT_RDWR)
