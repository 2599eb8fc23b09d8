"""Folders for unfinished files. What a process left behind because it was killed is removed by the next one that needs a folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A new folder is locked right after it was made.
UNLOCKED_SECONDS = 60


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Give an empty folder that is removed at the end. ``purpose`` is a part of its name."""
    prefix = f"opsconsole-{purpose}-"
    _remove_left_behind(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The lock ends with the process, however that ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def _remove_left_behind(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if _is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left_behind(folder: Path) -> bool:
    """Tell whether this is a folder of our user that no living process has locked."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        seen = os.fstat(descriptor)
        if seen.st_uid != os.geteuid() or time.time() - seen.st_mtime < UNLOCKED_SECONDS:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
