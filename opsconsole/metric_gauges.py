"""Gauges for Prometheus, from the overview's figures: read together, and cached for a moment.

A figure that can't be read has no sample: unknown is not zero (I8).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error, connection

import opsconsole
from jobs.models import QueueState
from opsconsole.kit.errors import first_line
from opsconsole.overview import current_figures
from opsconsole.overview.current_figures import Overview

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

logger = logging.getLogger(__name__)

# Name, help, and the one label, if there is one.
GAUGES: dict[str, tuple[str, str | None]] = {
    "opsconsole_build_info": ("The version of the console.", "version"),
    "opsconsole_counters_readable": (
        "Whether the counters of this host could be read from their files.",
        None,
    ),
    "opsconsole_reading_success": ("Whether the gauges could be read from the database.", None),
    "opsconsole_jobs": ("Jobs by state; counts stop at 10,001.", "state"),
    "opsconsole_oldest_wait_seconds": ("How long the job has waited that waits longest.", None),
    "opsconsole_workers": ("Workers by sign of life.", "state"),
    "opsconsole_outbox_messages": ("Messages that are due, and those that are overdue.", "state"),
    "opsconsole_dead_letters": ("Messages in the dead letter queues.", None),
    "opsconsole_dead_letter_expiry_seconds": (
        "Time until SQS deletes the first undecided dead letter.",
        None,
    ),
    "opsconsole_alerts": ("Open alerts, and those of them that fire.", "state"),
    "opsconsole_last_sweep_timestamp_seconds": ("When the last sweep ended.", None),
    "opsconsole_sweep_late": ("Whether sweeps are late.", None),
    "opsconsole_recovery_armed": ("Whether sweeps recover runs (1), or only observe (0).", None),
    "opsconsole_queue_messages": ("Messages in a queue by state, as SQS says.", "queue,state"),
    "opsconsole_queue_readable": ("Whether the last reading of a queue succeeded.", "queue"),
    "opsconsole_limiter_enforced": ("Whether the rate limiter refuses requests.", None),
    "opsconsole_limiter_troubles": ("Kinds of trouble that the limiter has now.", None),
}


def exposition(*, counted: bool) -> bytes:
    """Return the text of the gauges for Prometheus; ``counted``: whether counters are told beside them."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see ``_gauge``

    registry = CollectorRegistry()
    registry.register(Gauges(counted=counted))
    return generate_latest(registry)


class Gauges:
    """What prometheus_client asks for samples."""

    def __init__(self, *, counted: bool) -> None:
        self.counted = counted

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("opsconsole_build_info", {opsconsole.__version__: 1})
        yield _gauge("opsconsole_counters_readable", {"": self.counted})
        try:
            families = [_gauge(name, samples) for name, samples in _read().items()]
        except Error as error:
            logger.warning("The gauges of /metrics can't be read: %s", first_line(error))
            connection.close_if_unusable_or_obsolete()
            yield _gauge("opsconsole_reading_success", {"": 0})
            return
        yield _gauge("opsconsole_reading_success", {"": 1})
        yield from families


def _gauge(name: str, samples: Mapping[str, float | None]) -> GaugeMetricFamily:
    """Return a gauge. The keys of the samples are values of its labels, separated by commas."""
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - it takes memory in every process

    help_text, labels = GAUGES[name]
    family = GaugeMetricFamily(name, help_text, labels=labels.split(",") if labels else ())
    for key, value in samples.items():
        if value is not None:
            family.add_metric(key.split(",") if labels else (), float(value))
    return family


def _read() -> dict[str, dict[str, float | None]]:
    seen = current_figures.read()
    return _of_overview(seen) | _of_queues()


def _of_overview(seen: Overview) -> dict[str, dict[str, float | None]]:
    swept = seen.last_sweep.finished_at if seen.last_sweep else None
    return {
        "opsconsole_jobs": {
            "waiting": seen.waiting,
            "running": seen.running,
            "stale": seen.stale_in_all,
            "hung": seen.hung,
            "silent_unknown": seen.unknown,
            "message_lost": seen.lost + seen.lost_before_cutoff,
            "without_workers": seen.without_workers,
            "quarantined": seen.quarantined,
            "failed_day": seen.failed,
        },
        "opsconsole_oldest_wait_seconds": {
            "": seen.oldest_wait.total_seconds() if seen.oldest_wait is not None else None
        },
        "opsconsole_workers": {
            "alive": seen.workers_alive,
            "silent": seen.workers_silent,
            "dead": seen.workers_dead,
        },
        "opsconsole_outbox_messages": {"due": seen.unsent, "overdue": seen.overdue},
        "opsconsole_dead_letters": {"": seen.dead_letters},
        "opsconsole_dead_letter_expiry_seconds": {
            "": seen.expires_in.total_seconds() if seen.expires_in is not None else None
        },
        "opsconsole_alerts": {"open": seen.alerts_open, "firing": seen.firing},
        "opsconsole_last_sweep_timestamp_seconds": {"": swept.timestamp() if swept else None},
        "opsconsole_sweep_late": {"": seen.sweep_is_late},
        "opsconsole_recovery_armed": {"": current_figures.surroundings_now(seen).armed},
        "opsconsole_limiter_enforced": {"": seen.limiter_mode == "enforce"},
        "opsconsole_limiter_troubles": {"": len(seen.limiter_troubles)},
    }


def _of_queues() -> dict[str, dict[str, float | None]]:
    """Read the queues, which the cluster asks SQS about; a reading that failed is not repeated as if it were of now."""
    messages: dict[str, float | None] = {}
    readable: dict[str, float | None] = {}
    for state in QueueState.objects.filter(name__in=settings.QUEUES):
        readable[state.name] = not state.error and state.read_at is not None
        if readable[state.name]:
            messages[f"{state.name},visible"] = state.visible
            messages[f"{state.name},in_flight"] = state.in_flight
            messages[f"{state.name},delayed"] = state.delayed
    return {"opsconsole_queue_messages": messages, "opsconsole_queue_readable": readable}
