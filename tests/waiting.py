"""Waiting for a condition with a deadline, so that no test depends on the speed of the machine.

A deadline only ends what will never come true, so it may be far: a test that passes never waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_until(condition: Callable[[], Answer], timeout: float = 60.0, *, what: str = "") -> Answer:
    """Call ``condition`` until its result is true, and return the result; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition} did not come true within {timeout:g} s: {answer!r}")
        pause.wait(0.02)
