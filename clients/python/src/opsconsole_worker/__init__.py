"""A worker of the operations console without Django: claims runs of jobs, sends heartbeats, and reports results.

Write a handler, and let ``python -m opsconsole_worker`` or ``Consumer`` feed it. See clients/python/README.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsconsole_worker.runs.progress import InvalidProgress, Progress
    from opsconsole_worker.runs.running_job import RunningJob
    from opsconsole_worker.working.consumer import Consumer
    from opsconsole_worker.working.handlers import (
        Handler,
        PermanentError,
        RunContext,
        RunStopped,
    )

__version__ = "0.1.0"

__all__ = [
    "Consumer",
    "Handler",
    "InvalidProgress",
    "PermanentError",
    "Progress",
    "RunContext",
    "RunStopped",
    "RunningJob",
]


_PLACES = {
    "Consumer": "working.consumer",
    "InvalidProgress": "runs.progress",
    "Progress": "runs.progress",
    "RunningJob": "runs.running_job",
}


def __getattr__(name: str) -> Any:
    """Read a part of the package when it is first asked for: its statements are made of the mapping that is in force then."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _PLACES.get(name, "working.handlers")
    return getattr(import_module(f"{__name__}.{module}"), name)
