"""Traces: what requests, sweeps, sending and deliveries consist of and how long each part took, for an OpenTelemetry collector.

Without OTEL_EXPORTER_OTLP_ENDPOINT, we load nothing and ``span`` does nothing. Spans have names, ids and numbers, as lines of
the log do. They are sent in the background; when the collector is away they are dropped, and nothing waits for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

Attributes = Mapping[str, str | int | float | bool]
LONGEST_ATTRIBUTE = 300
# What an ending process waits for a collector at most.
TIMEOUT_SECONDS = 3

# How to begin to send, and what does so in this process.
_prepared: list[Callable[[], Any]] = []
_tracers: list[Any] = []
_beginning = threading.Lock()


class Span:
    """A part of a trace. Without an endpoint, or after its end, what it is told is dropped."""

    def __init__(self, real: Any = None) -> None:
        self._real = real

    def tell(self, attributes: Attributes, *, name: str = "", failed: str = "") -> None:
        """Add attributes, rename the span, or mark it as failed."""
        if self._real is None:
            return
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - see ``begin``

        self._real.set_attributes(attributes)
        if name:
            self._real.update_name(name)
        if failed:
            self._real.set_status(StatusCode.ERROR, failed)

    def end(self) -> None:
        if self._real is not None:
            self._real.end()


def begin(endpoint: str, *, version: str, environment: str) -> None:
    """Send traces from now on. Raise ``ImportError`` if the packages are not installed.

    Only what forks can share is done now: it takes 8 MB and a quarter of a second. The thread that sends begins with the first
    span of a process.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace.propagation import tracecontext  # noqa: F401, PLC0415 - for ``span``

    about = {
        "service.name": "opsconsole",
        "service.version": version,
        "deployment.environment.name": environment,
    }

    def tracer() -> Any:
        provider = TracerProvider(
            resource=Resource.create(about), span_limits=SpanLimits(max_attribute_length=LONGEST_ATTRIBUTE)
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=TIMEOUT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return provider.get_tracer("opsconsole", version)

    _prepared[:] = [tracer]


def _tracer() -> Any:
    """Return what makes spans in this process."""
    if not _tracers:
        with _beginning:
            if not _tracers:
                _tracers.append(_prepared[0]())
    return _tracers[0]


def _forget() -> None:
    """Begin anew after a fork: the thread that sends for the parent is not there."""
    global _beginning  # noqa: PLW0603 - a thread that the child does not have may hold it
    _beginning = threading.Lock()
    _tracers.clear()


os.register_at_fork(after_in_child=_forget)


def is_on() -> bool:
    return bool(_prepared)


def header() -> str:
    """Return the header traceparent of the present span, by which another process continues its trace; '' without one."""
    if not _prepared:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: Literal["INTERNAL", "SERVER"] = "INTERNAL",
    parent: str = "",
) -> Iterator[Span]:
    """Trace the block. ``parent`` is the header traceparent of a caller that can be believed."""
    if not _prepared:
        yield Span()
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - see ``begin``
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with _tracer().start_as_current_span(
        name,
        context=context,
        kind=SpanKind[kind],
        attributes=attributes,
        # Its message may quote rows.
        record_exception=False,
        set_status_on_exception=False,
    ) as real:
        current = Span(real)
        try:
            yield current
        except BaseException as error:
            current.tell({}, failed=type(error).__name__)
            raise


def call(name: str, attributes: Attributes) -> Span:
    """Begin a span for a call to another service, which ``Span.end`` ends. It is part of a trace, or is none."""
    if not _prepared:
        return Span()
    from opentelemetry.trace import SpanKind, get_current_span  # noqa: PLC0415 - see ``begin``

    if not get_current_span().get_span_context().is_valid:
        return Span()
    return Span(_tracer().start_span(name, kind=SpanKind.CLIENT, attributes=attributes))
