"""The task that the cluster runs each minute (``opsconsole.cluster.task_table``)."""

from __future__ import annotations

from alerts import notify
from alerts.watch import monitor_alerts
from opsconsole.kit.intervals import EACH_MINUTE
from opsconsole.trends import report, rollup


def count() -> str:
    """Count, and say that the trends are current once nothing older is left to count: until then they age unnoticed."""
    turn = rollup.count()
    if report.progress().is_current:
        notify.monitor_ok(monitor_alerts.TRENDS, EACH_MINUTE)
    return str(turn)
