"""The same work on several database connections at once: each lane is a thread with a connection of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import OperationalError, connection

logger = logging.getLogger(__name__)


def side_by_side(work: Callable[[], None], lanes: int) -> None:
    """Call ``work`` here and in ``lanes - 1`` threads at once; returns when all have ended, raises what one raised.

    Within a transaction of the caller it is called here alone: other connections would not see what was written.
    So it is in part when the server has no connection left: fewer lanes take longer, and miss nothing.
    """
    if connection.in_atomic_block:
        work()
        return
    with ThreadPoolExecutor(lanes - 1 or 1, thread_name_prefix="lane") as pool:
        others = [pool.submit(_on_own_connection, work) for _ in range(lanes - 1)]
        work()
    for other in others:
        other.result()


def _on_own_connection(work: Callable[[], None]) -> None:
    try:
        connection.ensure_connection()
    except OperationalError as error:
        logger.warning("A lane has no connection, the others do its work: %s", error)
        return
    try:
        work()
    finally:
        connection.close()
