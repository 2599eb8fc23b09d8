"""A search for real processes by a marker in their environment, which children inherit from any parent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

MARK = "TEST_MARK"


@dataclass(frozen=True)
class Mark:
    value: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environ(self) -> dict[str, str]:
        return os.environ | {MARK: self.value}

    def processes(self) -> list[psutil.Process]:
        """Return all live processes (no zombies) that carry the mark, except this one."""
        return [
            process for process in psutil.process_iter() if process.pid != os.getpid() and self._on(process)
        ]

    def pids(self) -> set[int]:
        return {process.pid for process in self.processes()}

    def _on(self, process: psutil.Process) -> bool:
        try:
            return bool(
                process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.value
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


@contextmanager
def marked() -> Iterator[Mark]:
    """Yield a new mark; kill all processes that carry it at the end of the test."""
    mark = Mark()
    try:
        yield mark
    finally:
        for process in mark.processes():
            process.kill()
