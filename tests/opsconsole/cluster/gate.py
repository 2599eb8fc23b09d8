"""A task for a real cluster that reports its start, and ends when allowed to."""

from __future__ import annotations

import os
from pathlib import Path

from tests.waiting import wait_until


def wait_for_gate(folder: str) -> None:
    began = Path(folder, "began.new")
    began.write_text(str(os.getpid()))
    began.rename(Path(folder, "began"))
    wait_until(Path(folder, "gate").exists, 60)
    Path(folder, "ended").touch()
