"""The same work on several database connections in parallel: each lane is a thread with its own connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType

from django.db import OperationalError, connection

logger = logging.getLogger(__name__)


class Lanes(AbstractContextManager["Lanes", None]):
    """The caller's lane, and up to ``count - 1`` others that it can open during the work.

    Leaving the context waits until the others have ended, and raises what one of them raised. Inside a transaction of
    the caller there are no others, because they would not see its changes.
    """

    def __init__(self, count: int) -> None:
        self._closed = 0 if connection.in_atomic_block else count - 1
        self._pool = ThreadPoolExecutor(self._closed or 1, thread_name_prefix="lane")
        self._opened: list[Future[None]] = []

    def open(self, work: Callable[[], None]) -> None:
        """Let the other lanes do ``work`` too; calling it again has no effect.

        Without a connection from the server a lane does nothing, and the work takes longer.
        """
        while self._closed:
            self._closed -= 1
            self._opened.append(self._pool.submit(_on_own_connection, work))

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._pool.shutdown()
        if kind is None:
            for lane in self._opened:
                lane.result()


def _on_own_connection(work: Callable[[], None]) -> None:
    try:
        connection.ensure_connection()
    except OperationalError as error:
        logger.warning("A parallel connection failed, the others do its work: %s", error)
        return
    try:
        work()
    finally:
        connection.close()
