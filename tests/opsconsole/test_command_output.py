"""Tests of commands whose output can't be written: whole sentences, no tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CUT = "The answer could not be written whole: "
# It needs no database.
COMMAND = [sys.executable, "manage.py", "worker_sql"]


def run(command: list[str] = COMMAND, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "OPSCONSOLE_ENV": "development",
        "DATABASE_URL": "postgres://u:p@127.0.0.1:1/unused",
        "CACHE_URL": "redis://127.0.0.1:1",
    } | options.pop("env", {})  # fmt: skip
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, check=False, **options
    )


def test_reader_that_has_gone_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        ended = run(stdout=pipe)
    assert (ended.returncode, ended.stderr) == (
        3,
        f"{CUT}Broken pipe. Look at what the command did before you repeat it.\n",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        ended = run(stdout=full)
    assert (ended.returncode, ended.stderr) == (
        3,
        f"{CUT}No space left on device. Look at what the command did before you repeat it.\n",
    )


def test_closed_output() -> None:
    ended = run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *COMMAND])
    assert (ended.returncode, ended.stderr) == (0, "")


def test_characters_that_the_terminal_lacks_are_written_as_escapes() -> None:
    told = run(
        ["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", sys.executable, "manage.py", "help", "enqueue_jobs"],
        stdout=subprocess.PIPE,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert told.returncode == 0, told.stdout
    ended = run(
        [
            sys.executable,
            "-c",
            "from opsconsole import command_line as c; c._prepare_output(); print('Café …')",
        ],
        stdout=subprocess.PIPE,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert (ended.returncode, ended.stdout) == (0, "Caf\\xe9 \\u2026\n")
