"""Traces of the runs of ``manage.py run_worker``. The package opsconsole-worker alone sends none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.worker import Handler, RunContext
from opsconsole.kit import tracing


def traced(handler: Handler, queue: str) -> Handler:
    """Return the handler with a span around each call, which is marked as failed when it raises."""

    def run(context: RunContext) -> Mapping[str, Any] | None:
        about: tracing.Attributes = {
            "opsconsole.job": str(context.job.id),
            "opsconsole.run": context.job.epoch,
            "opsconsole.queue": queue,
        }
        with tracing.span("run", about, parent=context.traceparent):
            return handler(context)

    return run
