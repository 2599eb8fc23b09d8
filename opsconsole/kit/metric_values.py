"""The values of prometheus_client in files whose space is there before it is used.

The client maps files that have no blocks yet. On a full disk, the first write to such a page ends the process with
SIGBUS, which nothing in the process can handle.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from prometheus_client import Counter, Histogram, values
from prometheus_client.mmap_dict import MmapedDict

FIRST_SIZE = 1 << 16


class ReservedFile(MmapedDict):
    """A file that its process locks for as long as it lives."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # noqa: FBT001, FBT002 - the client's signature
        while True:
            _reserve(filename, FIRST_SIZE)
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]  # the client has few types
            fcntl.flock(self._f, fcntl.LOCK_EX)
            if not self.is_removed():
                _open.append(self)
                return
            # Before it was locked, somebody took it for one of an ended process.
            self.close()

    def is_removed(self) -> bool:
        return not os.fstat(self._f.fileno()).st_nlink

    def close(self) -> None:
        super().close()  # type: ignore[no-untyped-call]  # see ``__init__``
        if self in _open:
            _open.remove(self)

    def _init_value(self, key: str) -> None:
        capacity, needed = self._capacity, self._used + len(key.encode()) + 40
        while needed > capacity:
            capacity *= 2
        if capacity > self._capacity:
            _reserve(self._fname, capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]  # see ``__init__``


def _reserve(filename: str, size: int) -> None:
    with Path(filename).open("ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError:
            if not os.fstat(file.fileno()).st_size:
                Path(filename).unlink()
            raise


_made: dict[str, Any] = {}
_open: list[ReservedFile] = []


def _close() -> None:
    """Close the files of this process, or after a fork those of its parent, which keeps its locks on them."""
    while _open:
        _open[-1].close()
    _made.clear()


os.register_at_fork(after_in_child=_close)


def have_vanished() -> bool:
    """Tell whether somebody has removed a file of this process, so that nobody is told what it counts there."""
    return any(each.is_removed() for each in _open)


def count_in(path: Path) -> None:
    """Let the metrics that are made from now on count in files in this folder, whose names nobody else has: neither a later process
    with this pid, nor this one before a failure.
    """
    _close()
    name = f"{socket.gethostname()}.{os.getpid()}.{uuid4().hex[:8]}"
    # The client reads it for each new file.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(path)
    values.MmapedDict = ReservedFile  # type: ignore[attr-defined]  # the client has no setting for it
    values.ValueClass = values.MultiProcessValue(lambda: name)  # type: ignore[no-untyped-call]  # see ``ReservedFile``


def made(name: str, help_text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Any:
    """Return the counter or histogram of this process."""
    if name not in _made:
        if buckets:
            _made[name] = Histogram(name, help_text, labels, registry=None, buckets=buckets)
        else:
            _made[name] = Counter(name, help_text, labels, registry=None)
    return _made[name]


def write(path: Path, totals: Mapping[str, float]) -> None:
    """Write a file with these values."""
    path.unlink(missing_ok=True)
    file = ReservedFile(str(path))
    _open.remove(file)
    for key, total in totals.items():
        file.write_value(key, total, 0.0)  # type: ignore[no-untyped-call]  # see ``ReservedFile``
    file.close()
