"""What the cluster calls by the clock (``opsconsole.cluster.schedules``). Each returns a line for the task's record."""

from __future__ import annotations

from alerts.sending import sender
from alerts.watch import monitors, retention


def send() -> str:
    """For deployments that run no ``send_alerts --loop``; beside one it finds nothing to do."""
    return str(sender.send_until_idle())


def judge_monitors() -> str:
    late = monitors.judge()
    return f"late: {', '.join(late)}" if late else "none is late"


def prune() -> str:
    return f"alerts: {retention.prune()}"
