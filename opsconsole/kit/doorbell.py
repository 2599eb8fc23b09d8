"""A bell between a supervisor's processes: whoever commits a burst of messages rings it, and the dispatcher ends its rest.

It carries nothing. What is due is in the database: a ring that nobody hears costs the rest of an interval, and one too
many a look. A process that no supervisor forked has no bell, and neither rings nor hears.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_AT_ONCE = 4_096


@dataclass(frozen=True)
class _Bell:
    heard: int
    rung: int


_bell: _Bell | None = None


@contextmanager
def hung() -> Iterator[None]:
    """Have a bell, for this process and those that it forks meanwhile."""
    global _bell  # noqa: PLW0603 - forks find it here
    bell = _Bell(*os.pipe())
    for end in (bell.heard, bell.rung):
        os.set_blocking(end, False)
    _bell = bell
    try:
        yield
    finally:
        _bell = None
        os.close(bell.rung)
        os.close(bell.heard)


def hangs() -> bool:
    """Tell whether this process can ring and hear one."""
    return _bell is not None


def ring() -> None:
    """Ring, if there is a bell. It never waits: a pipe that is full has been rung often enough."""
    if _bell:
        with suppress(BlockingIOError):
            os.write(_bell.rung, b".")


def wait(seconds: float) -> bool:
    """Wait until it rings, for at most so long; tell whether it rang, since the last time that somebody waited."""
    if _bell is None:
        raise RuntimeError("This process has no bell.")
    looks = select.poll()
    looks.register(_bell.heard, select.POLLIN)
    rang = bool(looks.poll(seconds * 1_000))
    with suppress(BlockingIOError):
        while len(os.read(_bell.heard, _AT_ONCE)) == _AT_ONCE:
            pass
    return rang
