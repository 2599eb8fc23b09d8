"""Dead-man's switches: something outside hears that the console still looks, and notices when it no longer does.

A monitor that succeeded is a row (``alerts.notify.monitor_ok``); the ping is derived from it by a task of its own. So
a switch that hangs or refuses can neither delay nor fail the sweep or check that it reports.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
from django.conf import settings
from django.db.models import F, Max, Min, Q
from django.db.models.functions import Coalesce, Now

from alerts.models import DeadManPing, Monitor
from alerts.watch import monitors
from opsconsole.kit.lateness import late_after

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = (3.0, 5.0)
# Of the monitor's interval. A little less than one, because the task that pings is not on the second either.
FEWEST_INTERVALS = 0.9
ASKED = "no answer yet"


@dataclass(frozen=True)
class Switch:
    """``monitors``: all of these must have succeeded. ``url`` names the switch, and so is a secret."""

    name: str
    url: str
    monitors: Q


def switches() -> Iterator[Switch]:
    """Those that the settings name."""
    if settings.OPSCONSOLE_DEADMAN_SWEEP_URL:
        yield Switch("sweep", settings.OPSCONSOLE_DEADMAN_SWEEP_URL, Q(name=monitors.SWEEP))
    if settings.OPSCONSOLE_DEADMAN_CHECK_URL:
        checks = Q(name__startswith=monitors.DLQ_CHECK)
        yield Switch("check", settings.OPSCONSOLE_DEADMAN_CHECK_URL, checks)


def ping_due() -> str:
    """Ping each switch whose monitors have all succeeded since its last ping; returns what was answered."""
    configured = list(switches())
    DeadManPing.objects.exclude(name__in=[switch.name for switch in configured]).delete()
    return ", ".join(f"{switch.name}: {_ping(switch)}" for switch in configured if _take(switch))


def _take(switch: Switch) -> bool:
    """Of all who see the success, one pings; a success of long ago is no sign of life."""
    seen = Monitor.objects.filter(switch.monitors).aggregate(
        first=Min("last_ok_at"), last=Max("last_ok_at"), interval=Max("interval")
    )
    if seen["first"] is None:
        return False
    # Each of them must have succeeded after all that the last ping reported, or one would do for all.
    first: datetime = seen["first"]
    interval: timedelta = seen["interval"]
    DeadManPing.objects.bulk_create([DeadManPing(name=switch.name)], ignore_conflicts=True)
    due = DeadManPing.objects.alias(late_before=Now() - late_after(interval)).filter(
        Q(reported=None) | Q(reported__lt=first),
        Q(pinged_at=None) | Q(pinged_at__lte=Now() - interval * FEWEST_INTERVALS),
        pk=switch.name,
        late_before__lte=first,
    )
    return bool(due.update(reported=seen["last"], pinged_at=Now(), answer=ASKED))


def _ping(switch: Switch) -> str:
    taken, answer = _ask(switch.url)
    row = DeadManPing.objects.get(pk=switch.name)
    if taken:
        if row.failing_since:
            logger.info("The dead-man's switch '%s' is reached again.", switch.name)
        changes: dict[str, Any] = {"ok_at": Now(), "failing_since": None}
    else:
        if row.failing_since is None:
            logger.warning("The dead-man's switch '%s' does not take the ping: %s.", switch.name, answer)
        changes = {"failing_since": Coalesce(F("failing_since"), Now())}
    DeadManPing.objects.filter(pk=switch.name).update(answer=answer, **changes)
    return answer


def _ask(url: str) -> tuple[bool, str]:
    """Whether the ping was taken, and the answer in words. The text of an error would show the address: not told."""
    try:
        with requests.get(url, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True) as answer:
            return answer.ok and not answer.is_redirect, f"HTTP {answer.status_code}"
    except requests.Timeout:
        return False, "no answer in time"
    except requests.RequestException:
        return False, "no connection"
