"""Marks kept in the store (Valkey) beside the database, so that a database that went back in time is noticed.

A store that does not answer, or that lost its content, knows nothing: then nothing can be concluded from it. Marks are
signed, so that whoever can write to the store can remove one or bring back an older one, and not invent one.
"""

from __future__ import annotations

import logging
from typing import Any

from django.core import signing
from django.core.cache import cache
from redis.exceptions import RedisError

from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)


def read(name: str) -> dict[str, Any] | None:
    """Return the mark, or None when it is unknown."""
    try:
        stored = cache.get(_key(name))
    except (RedisError, OSError) as error:
        logger.info("The mark '%s' can't be read: %s", name, first_line(error))
        return None
    try:
        mark = signing.loads(str(stored), salt=_salt(name))
    except signing.BadSignature:
        return None
    return mark if isinstance(mark, dict) else None


def write(name: str, mark: dict[str, Any]) -> None:
    """Keep the mark for ever, as far as the store allows."""
    try:
        cache.set(_key(name), signing.dumps(mark, salt=_salt(name)), timeout=None)
    except (RedisError, OSError) as error:
        logger.info("The mark '%s' can't be kept: %s", name, first_line(error))


def _key(name: str) -> str:
    return f"mark:{name}"


def _salt(name: str) -> str:
    return f"{__name__}:{name}"
