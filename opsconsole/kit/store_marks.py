"""Marks kept in the store (Valkey) beside the database, so that a database that went back in time is noticed.

A store that does not answer, or that lost its content, knows nothing: then nothing can be concluded from it.
"""

from __future__ import annotations

import logging
from typing import Any

from django.core.cache import cache
from redis.exceptions import RedisError

from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)


def read(name: str) -> dict[str, Any] | None:
    """Return the mark, or None when it is unknown."""
    try:
        mark = cache.get(_key(name))
    except (RedisError, OSError) as error:
        logger.info("The mark '%s' can't be read: %s", name, first_line(error))
        return None
    return mark if isinstance(mark, dict) else None


def write(name: str, mark: dict[str, Any]) -> None:
    """Keep the mark for ever, as far as the store allows."""
    try:
        cache.set(_key(name), mark, timeout=None)
    except (RedisError, OSError) as error:
        logger.info("The mark '%s' can't be kept: %s", name, first_line(error))


def _key(name: str) -> str:
    return f"mark:{name}"
