"""Who watches the watchers: a monitor that has not succeeded for two of its intervals is an alert.

Judged by the senders, by the console's pages and by ``manage.py judge_monitors``: not only by the cluster whose
standstill it would tell of.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from alerts import notify, rules
from alerts.models import Alert, Monitor
from alerts.models.rule import MonitorQuerySet
from opsconsole.kit import lateness
from opsconsole.kit.durations import spell

RULE = "monitor_late"
# The names of monitors that are asked for; each dead letter queue has a check of its own, whose name begins so.
SWEEP = "sweep"
DLQ_CHECK = "dead letter check"
# Any constant of ours: of two judges at the same moment one is enough.
LOCK = 7_340_114


def judge() -> list[str]:
    """Fire for each monitor that is late, resolve for those that are not; returns the names of the late ones."""
    with transaction.atomic():
        late: list[Any] = list(Monitor.objects.late().annotate(silent=Now() - F("last_ok_at")))
        names = [monitor.pk for monitor in late]
        if not _alone():
            return names
        for monitor in late:
            _fire(monitor, monitor.silent)
        in_time = (
            Alert.objects.open()
            .filter(rule=RULE)
            .exclude(fingerprint__in=[f"{RULE}:{name}" for name in names])
        )
        for fingerprint in list(in_time.values_list("fingerprint", flat=True)):
            notify.resolve(fingerprint)
        return names


def named(name: str) -> MonitorQuerySet:
    """This monitor; none before its first success."""
    return Monitor.objects.filter(pk=name)


def is_late(name: str) -> bool:
    """Tell whether this monitor is late; one that never succeeded is."""
    return not named(name).in_time().exists()


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _fire(monitor: Monitor, silent: timedelta) -> None:
    notify.fire(
        f"{RULE}:{monitor.pk}",
        title=f"No success of {monitor.pk} for {spell(silent)}",
        severity=rules.named(RULE).severity,
        summary="What it watches is not watched meanwhile. See that the cluster runs and the database answers.",
        value=round(silent / monitor.interval, 1),
        threshold=lateness.INTERVALS,
        facts=[("Expected every", spell(monitor.interval))],
    )
