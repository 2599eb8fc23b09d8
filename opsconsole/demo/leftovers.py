"""Leftovers of a killed demo: its processes, found by a variable in their environment, and its data."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from opsconsole.demo.environment import MARK, DemoError

END_SECONDS = 10.0


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Lock the demo's folder. Raise ``DemoError`` while another demo uses it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"Another demo is running in {folder}. End it first, or give this one a place of its own: "
                "OPSCONSOLE_VAR_DIR=/tmp/another make demo"
            ) from error
        yield


def clear(folder: Path) -> int:
    """End the processes of an earlier demo, delete its data, and return how many processes there were."""
    left = processes_of(folder)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=END_SECONDS)
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "logs").mkdir(parents=True)
    return len(left)


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the running processes that carry the folder's mark, except this one."""
    return [each for each in psutil.process_iter() if each.pid != os.getpid() and _carries(each, folder)]


def _carries(process: psutil.Process, folder: Path) -> bool:
    try:
        return bool(process.environ().get(MARK) == str(folder))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
