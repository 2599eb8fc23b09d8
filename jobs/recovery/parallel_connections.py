"""The same work on several database connections in parallel: each is used by a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from django.db import OperationalError, connection

logger = logging.getLogger(__name__)


def in_parallel(work: Callable[[], None], connections: int) -> None:
    """Do ``work`` on the caller's connection and on ``connections - 1`` others at once; return when all have ended.

    An error of any of them is raised. Inside a transaction of the caller there are no others, because they would not see
    its changes.
    """
    others = 0 if connection.in_atomic_block else connections - 1
    with ThreadPoolExecutor(max(1, others), thread_name_prefix="sweep") as pool:
        ends = [pool.submit(copy_context().run, _on_own_connection, work) for _ in range(others)]
        work()
    for end in ends:
        end.result()


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
