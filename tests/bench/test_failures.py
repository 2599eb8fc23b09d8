"""A benchmark in which something failed has not passed, whatever table it prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.repository import REPOSITORY

IN_A_THREAD = (
    "import threading; thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()"
)
LOGGED = """
import logging
try: 1 / 0
except ZeroDivisionError: logging.getLogger("x").exception("oops")
"""
IN_THREADS = "from bench import failures; failures.in_threads([int, lambda: 1 / 0, int])"
IN_A_PROCESS = """
import multiprocessing, os
from bench import failures
process = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
process.start()
failures.join([process], 30)
"""


# A refused client whose window turns is replaced, but not for ever.
ONE_WINDOW_TURNED = """
from itertools import count
from bench.ratelimit_worker import TRIES, WindowTurned, with_another_client
tries = count()
def measure():
    if next(tries) < {turned}: raise WindowTurned
with_another_client(measure)
"""


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        (IN_A_THREAD, 1),
        (LOGGED, 1),
        (IN_THREADS, 1),
        (IN_A_PROCESS, 1),
        (ONE_WINDOW_TURNED.format(turned=1), 0),
        (ONE_WINDOW_TURNED.format(turned="TRIES"), 1),
    ],
    ids=[
        "nothing",
        "a thread",
        "a logged traceback",
        "threads of the benchmark",
        "a process",
        "a window turned",
        "each window turned",
    ],
)
def test_exit_code_is_that_of_the_worst_part(code: str, status: int) -> None:
    """Run in processes of their own, because ``import bench`` changes the process."""
    command = [sys.executable, "-c", f"import bench\n{code}\nprint('a table')"]

    ended = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)

    assert (ended.returncode, "Traceback" in ended.stderr) == (status, bool(status)), ended.stderr
