"""What fails beside a benchmark's main thread: threads, processes and logged tracebacks make the benchmark fail, too."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any

_failed: list[str] = []


def watch() -> None:
    """Let this process end with exit code 1 once a thread died of an exception, or a traceback was logged as an error."""
    show, build = threading.excepthook, logging.getLogRecordFactory()

    def died(failure: threading.ExceptHookArgs) -> None:
        _failed.append(f"a thread ended with {failure.exc_type.__name__}")
        show(failure)

    def logged(*of_it: Any, **more: Any) -> logging.LogRecord:
        record = build(*of_it, **more)
        if record.exc_info and record.levelno >= logging.ERROR:
            _failed.append(f"{record.name} logged a traceback")
        return record

    threading.excepthook = died
    logging.setLogRecordFactory(logged)
    # Registered before everything that a benchmark starts, so it runs after all of that has been cleaned up.
    atexit.register(_fail)


def _fail() -> None:
    if _failed:
        print(f"This benchmark has not passed: {'; '.join(_failed)}.", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def in_threads(functions: Iterable[Callable[[], object]]) -> None:
    """Run each function in a thread of its own, wait for all, and raise what one of them raised."""
    each = list(functions)
    with ThreadPoolExecutor(len(each)) as pool:
        running = [pool.submit(function) for function in each]
    for ended in running:
        ended.result()


def join(processes: Iterable[BaseProcess], timeout: float) -> None:
    """Wait for the processes, and raise an error unless each ended well."""
    for process in processes:
        process.join(timeout)
        if process.exitcode != 0:
            raise RuntimeError(f"a process of the benchmark ended with {process.exitcode}")
