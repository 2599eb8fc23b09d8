"""Handlers for real worker processes in tests."""

from __future__ import annotations

import threading
from pathlib import Path

from opsconsole_worker import RunContext


def wait_for_gate(context: RunContext) -> dict[str, bool]:
    """Note that the work has begun, then wait until the file named in the payload exists."""
    context.note("begun", reference=str(context.job.id))
    gate, pause = Path(context.job.payload["gate"]), threading.Event()
    while not gate.exists():
        context.check()
        pause.wait(0.02)
    return {"gate": True}


def return_at_once(_context: RunContext) -> None:
    """Return at once."""


def take_nothing() -> None:
    """Accept no argument, which makes this an invalid handler."""


async def run_later(_context: RunContext) -> None:
    """Accept a run, but as a coroutine, which makes this an invalid handler."""


NOT_CALLABLE = 7
