"""Dead-man's switches: an external service gets regular pings, and raises an alarm when they stop.

The success of a monitor is a row (``alerts.notify.monitor_ok``), and a separate task sends the ping that it entitles
to. A switch that hangs or fails can therefore neither delay nor fail the sweep or check that it reports.
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
from urllib3.exceptions import HTTPError

from alerts.models import DeadManPing, Monitor
from alerts.watch import monitor_alerts
from opsconsole.kit import newest_seal
from opsconsole.kit.lateness import late_after

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = (3.0, 5.0)
# The shortest time between pings, in intervals of the monitor. Less than one, since tasks do not run to the second.
MIN_INTERVALS = 0.9
NO_ANSWER_YET = "no answer yet"


@dataclass(frozen=True)
class DeadManSwitch:
    """A switch that is pinged when all ``monitors`` have succeeded. Its ``url`` is a secret."""

    name: str
    url: str
    monitors: Q


def switches() -> Iterator[DeadManSwitch]:
    """Yield the switches in the settings."""
    if settings.OPSCONSOLE_DEADMAN_SWEEP_URL:
        yield DeadManSwitch("sweep", settings.OPSCONSOLE_DEADMAN_SWEEP_URL, Q(name=monitor_alerts.SWEEP))
    if settings.OPSCONSOLE_DEADMAN_CHECK_URL:
        checks = Q(name__startswith=monitor_alerts.DLQ_CHECK)
        yield DeadManSwitch("check", settings.OPSCONSOLE_DEADMAN_CHECK_URL, checks)


def ping_due() -> str:
    """Ping each switch whose monitors have all succeeded since its last ping. Return the answers."""
    current = list(switches())
    DeadManPing.objects.exclude(name__in=[switch.name for switch in current]).delete()
    return ", ".join(f"{switch.name}: {_ping(switch)}" for switch in current if _claim_ping(switch))


def _claim_ping(switch: DeadManSwitch) -> bool:
    """Tell whether a ping is due, and claim it, so that one process sends it. An old success entitles to no ping."""
    successes = Monitor.objects.filter(switch.monitors).aggregate(
        first=Min("last_ok_at"), last=Max("last_ok_at"), interval=Max("interval")
    )
    if successes["first"] is None:
        return False
    # Each monitor must have succeeded since the last success that was reported, or else one could stand for all.
    first: datetime = successes["first"]
    interval: timedelta = successes["interval"]
    DeadManPing.objects.bulk_create([DeadManPing(name=switch.name)], ignore_conflicts=True)
    due = DeadManPing.objects.alias(late_before=Now() - late_after(interval)).filter(
        Q(reported=None) | Q(reported__lt=first),
        Q(pinged_at=None) | Q(pinged_at__lte=Now() - interval * MIN_INTERVALS),
        pk=switch.name,
        late_before__lte=first,
    )
    return bool(due.update(reported=successes["last"], pinged_at=Now(), answer=NO_ANSWER_YET))


def _ping(switch: DeadManSwitch) -> str:
    accepted, answer = _send_ping(switch.url, _seal())
    row = DeadManPing.objects.get(pk=switch.name)
    if accepted:
        if row.failing_since:
            logger.info("The dead-man's switch '%s' accepts pings again.", switch.name)
        changes: dict[str, Any] = {"ok_at": Now(), "failing_since": None}
    else:
        if row.failing_since is None:
            logger.warning("The dead-man's switch '%s' did not accept a ping: %s.", switch.name, answer)
        changes = {"failing_since": Coalesce(F("failing_since"), Now())}
    DeadManPing.objects.filter(pk=switch.name).update(answer=answer, **changes)
    return answer


def _seal() -> str:
    """Return the newest seal of the audit, if it is to be kept outside."""
    return newest_seal.anchor() if settings.OPSCONSOLE_DEADMAN_SEAL != "off" else ""


def _send_ping(url: str, seal: str) -> tuple[bool, str]:
    """Return whether the ping was accepted, and the answer. Error texts are left out, since they contain the URL."""
    in_body = bool(seal) and settings.OPSCONSOLE_DEADMAN_SEAL == "body"
    in_query = {"seal": seal} if seal and not in_body else None
    try:
        with requests.request(
            "POST" if in_body else "GET",
            url,
            params=in_query,
            data=f"seal {seal}\n".encode() if in_body else None,
            headers={"Content-Type": "text/plain"} if in_body else None,
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as response:
            return response.ok and not response.is_redirect, f"HTTP {response.status_code}"
    except requests.Timeout:
        return False, "no answer in time"
    # urllib3's own error comes through for a part of a host name that is too long.
    except (requests.RequestException, HTTPError):
        return False, "no connection"
