"""What the console counts and times for Prometheus, as one table, and how code counts it: ``metrics.SWEEPS.count(mode="armed")``.

Nothing is counted unless OPSCONSOLE_METRICS_TOKENS is set. Each process writes to a file of its own, never to the
database (``opsconsole.kit.metric_files``); ``/metrics`` adds them up. What is read from the database instead of counted is
in ``opsconsole.metric_gauges``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opsconsole.kit import metric_files

# Of requests and calls, and of work that takes minutes to days.
SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
TINY = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
LONG = (1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0)


@dataclass(frozen=True)
class Metric:
    """A counter or, with ``buckets``, a histogram of seconds."""

    name: str
    help_text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def count(self, amount: float = 1, **labels: str) -> None:
        self._change("inc", amount, labels)

    def observe(self, seconds: float, **labels: str) -> None:
        self._change("observe", max(seconds, 0.0), labels)

    def _change(self, how: str, amount: float, labels: dict[str, str]) -> None:
        if are_on():
            values = tuple([labels[name] for name in self.labels])
            metric_files.change((self.name, values), self._made, how, amount)

    def _made(self) -> Any:
        """Return the client's counter or histogram."""
        from opsconsole.kit import metric_values  # noqa: PLC0415 - it takes memory, where nothing is counted in vain

        return metric_values.made(self.name, self.help_text, self.labels, self.buckets)


def are_on() -> bool:
    """Tell whether this process counts anything."""
    return metric_files.folder() is not None


REQUESTS = Metric(
    "opsconsole_http_requests_total",
    "Requests by method, address pattern and status.",
    ("method", "route", "status"),
)
REQUEST_SECONDS = Metric(
    "opsconsole_http_request_duration_seconds",
    "Time from a whole request to the end of its response, by part of the console.",
    ("area",),
    SHORT,
)
SWEEPS = Metric("opsconsole_sweeps_total", "Sweeps that ended, by mode.", ("mode",))
SWEEP_SECONDS = Metric("opsconsole_sweep_duration_seconds", "Duration of sweeps.", (), (*SHORT, 60.0, 120.0))
RECOVERY_SECONDS = Metric(
    "opsconsole_time_to_recovery_seconds",
    "Time from the last sign of life of a worker until its run was recovered or quarantined.",
    ("queue",),
    LONG,
)
WAIT_SECONDS = Metric(
    "opsconsole_job_wait_duration_seconds",
    "Time from when a run could begin until a worker claimed it.",
    ("queue",),
    LONG,
)
RUN_SECONDS = Metric(
    "opsconsole_run_duration_seconds",
    "Time from the claim of a run to its end, by how it ended.",
    ("queue", "outcome"),
    LONG,
)
JOB_EVENTS = Metric(
    "opsconsole_job_events_total", "Events on the timelines of jobs, by kind.", ("kind", "queue")
)
MESSAGES = Metric(
    "opsconsole_outbox_messages_total",
    "Messages of the outbox that were tried, by target and outcome.",
    ("target", "outcome"),
)
SQS_CALLS = Metric(
    "opsconsole_sqs_calls_total",
    "Calls to SQS by operation and answer: ok, or the code of the error.",
    ("operation", "answer"),
)
SQS_SECONDS = Metric(
    "opsconsole_sqs_call_duration_seconds",
    "Duration of calls to SQS; receiving waits for messages.",
    ("operation",),
    SHORT,
)
LIMITER_DECISIONS = Metric(
    "opsconsole_limiter_decisions_total",
    "Decisions of the rate limiter by policy and outcome; degraded: made without the shared store.",
    ("policy", "outcome", "degraded"),
)
LIMITER_SECONDS = Metric(
    "opsconsole_limiter_check_duration_seconds", "Time that the rate limiter adds to a request.", (), TINY
)
DELIVERIES = Metric(
    "opsconsole_alert_deliveries_total",
    "Messages about alerts that were posted to a channel, by outcome.",
    ("channel", "outcome"),
)
DEAD_LETTERS = Metric(
    "opsconsole_dead_letters_total",
    "Dead letters that were found, replayed and deleted.",
    ("queue", "outcome"),
)

ALL = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
