"""The time after which a page or a command stops waiting for an answer of the database.

The limit of statements is kept by the server, which must have received the statement. A pooler whose connections are all in use
keeps a statement for two minutes by default, and a server whose disk hangs never answers. So the client's end of the
connection is closed when no answer has come for some seconds longer: the page answers 503, and its thread is free. Whoever
waits for a command is told meanwhile that it waits, and then for how long it did.
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

from psycopg import OperationalError

# Longer than the server's own limit, which gives the better answer.
MARGIN_SECONDS = 3.0
LOOK_EVERY_SECONDS = 0.5
# What follows in the same request, such as the page that tells of the failure, must not wait for as long again.
SHORT_SECONDS = 1.0
SHORT_FOR_SECONDS = 5.0
# A person at a command wonders by now.
TELL_AFTER_SECONDS = 10.0


@dataclass(eq=False)
class _Awaited:
    """An answer that a thread waits for. ``session``: the connection of psycopg."""

    session: Any
    since: float
    until: float
    told: bool = False
    overdue: bool = False


class AnswerLimit:
    """Closes connections whose answer is overdue, in a thread that starts with the first statement of the process.

    ``tell`` is called once per answer that is long in coming, with the seconds after which nobody waits any more.
    """

    def __init__(self, seconds: float, tell: Callable[[float], None] | None = None) -> None:
        self.seconds = seconds
        self.tell = tell
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
        seconds = SHORT_SECONDS if short else self.seconds + MARGIN_SECONDS
        answer = _Awaited(session, now, now + seconds)
        with self._lock:
            self._awaited.add(answer)
            self._watch()
        try:
            yield
        except OperationalError as error:
            if answer.overdue:
                raise OperationalError(
                    f"no answer came in {seconds:.0f} s, so it was not waited for any longer"
                ) from error
            raise
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
                slow = [answer for answer in self._awaited if self._look_at(answer)]
                if not self._awaited:
                    self._asking.clear()
            if slow and self.tell:
                self.tell(self.seconds + MARGIN_SECONDS)

    def _look_at(self, answer: _Awaited) -> bool:
        """Close the connection of an overdue answer. Tell whether somebody must be told now that this one is slow."""
        now = time.monotonic()
        if not answer.overdue and answer.until < now:
            answer.overdue = True
            _shut(answer.session)
        if answer.told or answer.overdue or now < answer.since + TELL_AFTER_SECONDS:
            return False
        answer.told = True
        return True


# Set in processes that serve pages, and in commands.
_of_process: AnswerLimit | None = None


def limit_answers(seconds: float, tell: Callable[[float], None] | None = None) -> None:
    """Limit the connections that this process opens from now on."""
    global _of_process  # noqa: PLW0603 - one per process, set at its start
    _of_process = AnswerLimit(seconds, tell)


def guard(session: Any) -> None:
    """Limit how long a new connection waits for answers, if this process has a limit."""
    if _of_process:
        _of_process.guard(session)


def _after_fork() -> None:
    # The thread stays in the parent, and so may the lock that it held.
    if _of_process:
        limit_answers(_of_process.seconds, _of_process.tell)


os.register_at_fork(after_in_child=_after_fork)


def _shut(session: Any) -> None:
    """End the connection such that the thread that waits for its answer gets an error at once."""
    with suppress(OSError), socket.socket(fileno=os.dup(session.fileno())) as connected:
        connected.shutdown(socket.SHUT_RDWR)
