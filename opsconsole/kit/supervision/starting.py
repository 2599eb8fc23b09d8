"""Forks that the system may refuse, for lack of memory or of process numbers: a refused one leaves nothing open."""

from __future__ import annotations

import os
from multiprocessing.process import BaseProcess

FILES = "/dev/fd"


def start(process: BaseProcess) -> None:
    """Start a process. Raise ``OSError`` when the system refuses the fork. No other thread of ours may open files meanwhile."""
    before = open_files()
    try:
        process.start()
    except OSError:
        # multiprocessing would leave its pipes open, at each try.
        for each in open_files() - before:
            os.close(each)
        raise


def open_files() -> set[int]:
    listed = [int(name) for name in os.listdir(FILES)]  # noqa: PTH208 - numbers, not files
    return {each for each in listed if _is_open(each)}


def _is_open(file: int) -> bool:
    """Tell whether a file is open; that of the listing itself no longer is."""
    try:
        os.fstat(file)
    except OSError:
        return False
    return True
