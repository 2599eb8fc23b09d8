"""Objects that a process keeps for some seconds.

Django's cache in memory pickles what is set and makes it anew for each ``get``. Here all requests get the same object, so
that it must be one that nobody changes: a frozen dataclass, or a collection or row that is only read.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any


class KeptObjects:
    """Objects by key. There are as many keys as the code names, so that none is removed for want of room."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Any]] = {}

    def get(self, key: str) -> Any:
        """Return the object itself, or None when none is kept or its time is over."""
        until, kept = self._kept.get(key, (0.0, None))
        return kept if monotonic() < until else None

    def set(self, key: str, kept: Any, seconds: float) -> None:
        self._kept[key] = monotonic() + seconds, kept

    def delete_many(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._kept.pop(key, None)

    def clear(self) -> None:
        self._kept.clear()
