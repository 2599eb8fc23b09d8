"""Handlers of workers: their argument and the exceptions that they may raise."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias, cast

from opsconsole_worker.errors import OpsConsoleError
from opsconsole_worker.reports import reporting
from opsconsole_worker.runs.heartbeats import Verdict
from opsconsole_worker.runs.progress import Progress, checked_progress
from opsconsole_worker.runs.running_job import RunningJob
from opsconsole_worker.working.heartbeat_thread import Pulse
from opsconsole_worker.working.outages import insist


class PermanentError(Exception):
    """Raised by a handler when another run would fail too: the job fails now. The text is shown to operators."""

    # The name by which handlers import it stands in errors and identifies groups of failures; where the code is may change.
    __module__ = "opsconsole_worker"


class RunStopped(Exception):
    """Raised by ``RunContext.check()``: the run was cancelled or superseded, and nothing it reports counts."""

    __module__ = "opsconsole_worker"

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"The run was {verdict}.")
        self.verdict = verdict


class InvalidHandler(OpsConsoleError):
    """A dotted path does not name a handler; the message says why."""


class RunContext:
    """A run, as its handler sees it."""

    def __init__(
        self,
        job: RunningJob,
        pulse: Pulse,
        told_to_stop: threading.Event | None = None,
        traceparent: str = "",
    ) -> None:
        self.job = job
        # The trace in which the job was accepted, to continue it: a header of W3C Trace Context, or ''.
        self.traceparent = traceparent
        self._pulse = pulse
        # Each note has a number, by which one that is repeated is recognised.
        self._notes = itertools.count(1)
        self._insist = partial(insist, told_to_stop=told_to_stop)

    def note(self, text: str, reference: str = "") -> None:
        """Record what the run has done outside, with its id or link there.

        Operators read it before they requeue the job. The call waits while the database or the console is away, because a record of
        paid work must not be lost. A worker that was told to stop waits for at most the threshold of stale runs, then
        raises the error.
        """
        once, tries = str(next(self._notes)), itertools.count()

        def tell() -> bool:
            run, repeated = self._pulse.run, next(tries) > 0
            return reporting.current().note(run, text, reference, once=once, asked_before=repeated)

        if not self._insist(tell):
            self._insist(self._pulse.look)

    def progress(self, percent: float | None, text: str = "") -> None:
        """Say how far the run is: from 0 to 100 percent, or None where that is unknown, and in words.

        The job's page shows it, and the next run of the job receives the last one. The call returns at once; about once a second
        the newest report is sent. Raise ``InvalidProgress`` for anything else than a percentage.
        """
        self._pulse.progress.put(*checked_progress(percent, text))

    @property
    def last_progress(self) -> Progress | None:
        """Return how far an earlier run of the job was when it last said so; None if none did."""
        return self.job.last_progress

    @property
    def should_stop(self) -> bool:
        """Tell whether a heartbeat or a note has learned that the run was cancelled or superseded."""
        return self._pulse.verdict is not Verdict.GO_ON

    def check(self) -> None:
        """Raise ``RunStopped`` once ``should_stop`` is true; call it wherever the work can be abandoned."""
        if self.should_stop:
            raise RunStopped(self._pulse.verdict)


Handler: TypeAlias = Callable[[RunContext], Mapping[str, Any] | None]


def load(dotted_path: str) -> Handler:
    """Return the handler with this name. Raise ``InvalidHandler`` unless it accepts a run's context."""
    try:
        handler = _imported(dotted_path)
    except ImportError as error:
        raise InvalidHandler(f"The handler '{dotted_path}' can't be imported: {error}.") from error
    return checked(handler, dotted_path)


def checked(handler: object, name: str) -> Handler:
    """Return what was found under this name. Raise ``InvalidHandler`` unless it accepts a run's context."""
    if not callable(handler):
        raise InvalidHandler(f"The handler '{name}' is not a function.")
    if inspect.iscoroutinefunction(handler):
        raise InvalidHandler(f"The handler '{name}' is a coroutine; give a plain function.")
    try:
        inspect.signature(handler).bind(None)
    except TypeError as error:
        raise InvalidHandler(
            f"The handler '{name}' must take one argument, the run's context: {error}."
        ) from error
    return cast(Handler, handler)


def _imported(dotted_path: str) -> object:
    module, _, name = dotted_path.rpartition(".")
    if not module:
        raise ImportError(f"{dotted_path} doesn't look like a module path")
    found = import_module(module)
    try:
        return getattr(found, name)
    except AttributeError:
        raise ImportError(f"module '{module}' does not define '{name}'") from None
