"""Monitors: an alert fires if a monitor has not succeeded for two of its intervals.

Senders, the console's pages and ``manage.py judge_monitors`` judge the monitors, so that a stopped cluster is noticed
too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from alerts import notify, rules
from alerts.models import Alert, Monitor
from alerts.models.alert import Severity
from alerts.models.monitor import MonitorQuerySet
from alerts.trouble import Trouble
from opsconsole.kit import lateness, one_statement
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole.kit.durations import spell
from opsconsole.kit.one_statement import Reading, exists_of

RULE = "monitor_late"
# The name of a monitor, and the prefix of the names of others: each dead letter queue has a check of its own.
SWEEP = "sweep"
DLQ_CHECK = "dead letter check"
CHARTS, TRENDS = "counting for the charts", "counting for the trends"
# While these are late, figures age. Nobody's work does, so nobody is woken.
ONLY_FIGURES = frozenset({CHARTS, TRENDS})


def judge() -> list[str]:
    """Fire an alert for each late monitor, and resolve those of the others. Return the names of the late monitors."""
    if not are_to_judge(one_statement.read(**readings())):
        return []
    with transaction.atomic():
        late_monitors = list(Monitor.objects.late().annotate(since_success=Now() - F("last_ok_at")))
        names = [monitor.pk for monitor in late_monitors]
        if not _is_only_judge():
            return names
        for monitor in late_monitors:
            _fire(monitor, monitor.since_success)
        alerts_in_time = (
            Alert.objects.open()
            .filter(rule=RULE)
            .exclude(fingerprint__in=[f"{RULE}:{name}" for name in names])
        )
        watched = {f"{RULE}:{name}" for name in Monitor.objects.values_list("pk", flat=True)}
        for fingerprint in list(alerts_in_time.values_list("fingerprint", flat=True)):
            if fingerprint in watched:
                notify.clear(fingerprint)
            else:
                notify.resolve(fingerprint)
        return names


def readings() -> dict[str, Reading[bool]]:
    """Return what ``are_to_judge`` has to know."""
    return {
        "late": exists_of(Monitor.objects.late()),
        "told": exists_of(Alert.objects.open().filter(rule=RULE)),
    }


def are_to_judge(read: Mapping[str, Any]) -> bool:
    """Tell whether a monitor is late, or an alert says so of one, given what was read."""
    return bool(read["late"] or read["told"])


def named(name: str) -> MonitorQuerySet:
    """Return the monitor with this name. Before its first success, there is none."""
    return Monitor.objects.filter(pk=name)


def of_queue(dlq: str) -> str:
    """Return the name of the monitor of this dead letter queue's check."""
    return f"{DLQ_CHECK} ({dlq})"


def end_others(kind: str, names: Collection[str], *, news: str) -> None:
    """Forget the monitors of this kind but for these, and resolve their alerts; ``news`` says why."""
    with transaction.atomic():
        others = Monitor.objects.filter(pk__startswith=f"{kind} (").exclude(pk__in=names)
        for name in list(others.values_list("pk", flat=True)):
            notify.resolve(f"{RULE}:{name}", news=news)
        others.delete()


def is_late(name: str) -> bool:
    """Tell whether the monitor is late. A monitor that never succeeded counts as late."""
    return not in_time(name).exists()


def in_time(name: str) -> MonitorQuerySet:
    """Return the monitor, unless it is late."""
    return named(name).in_time()


def _is_only_judge() -> bool:
    """Tell whether no other process judges at the same time: one is enough."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.MONITORS])
        return bool(cursor.fetchone()[0])


UNNOTICED = "Until it succeeds, problems may go unnoticed."
AGEING = "Until it succeeds, the figures that it counts are old; what is recovered and sent does not depend on them."


def _fire(monitor: Monitor, since_success: timedelta) -> None:
    only_figures = monitor.pk in ONLY_FIGURES
    notify.fire(
        f"{RULE}:{monitor.pk}",
        Trouble(
            title=f"{monitor.pk} has not succeeded for {spell(since_success)}",
            severity=Severity.WARNING if only_figures else rules.by_name(RULE).severity,
            summary=f"{AGEING if only_figures else UNNOTICED} Check that the cluster runs and the database answers.",
            value=round(since_success / monitor.interval, 1),
            threshold=lateness.INTERVALS,
            facts=[("Expected every", spell(monitor.interval))],
        ),
    )
