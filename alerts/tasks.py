"""Tasks that the cluster runs on a schedule (``opsconsole.cluster.task_table``). Each returns a line for its record."""

from __future__ import annotations

from alerts.sending import sender
from alerts.watch import monitor_alerts, retention
from opsconsole.kit import removals


def send() -> str:
    """Send alerts where no ``send_alerts --loop`` runs. Beside one, there is usually nothing left to send."""
    return str(sender.send_until_idle())


def judge_monitors() -> str:
    late = monitor_alerts.judge()
    return f"late: {', '.join(late)}" if late else "no monitor is late"


def prune() -> str:
    deleted = {"alerts": retention.prune()}
    removals.tell(deleted)
    return f"alerts: {deleted['alerts']}"
