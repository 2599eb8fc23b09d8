"""Queries that are built once per process: Django takes longer to build and compile a large one than PostgreSQL to answer it.

Only what settings and the arguments decide may be built once. A time is PostgreSQL's own (``Now()``), and what else changes
is a parameter that is given when the query is sent. ``tests/opsconsole/kit/test_built_once.py`` builds each of them again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import _lru_cache_wrapper, lru_cache
from typing import Any, TypeVar

from django.core.signals import setting_changed

Built = TypeVar("Built")
# Of each builder. Arguments are few: what a page asks for, not what somebody types.
MOST_KEPT = 8
builders: list[_lru_cache_wrapper[Any]] = []


def built_once(build: Callable[..., Built]) -> _lru_cache_wrapper[Built]:
    """Keep what this function returns, for each choice of its arguments."""
    kept = lru_cache(MOST_KEPT)(build)
    builders.append(kept)
    return kept


def forget(**_: Any) -> None:
    for kept in builders:
        kept.cache_clear()


# Only tests change settings while a process runs.
setting_changed.connect(forget)
