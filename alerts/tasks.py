"""What the cluster calls by the clock (``opsconsole.schedules``). Each returns a line for the task's record."""

from __future__ import annotations

from alerts import monitors, pruning, sender


def send() -> str:
    """For deployments that run no ``send_alerts --loop``; beside one it finds nothing to do."""
    return str(sender.until_quiet())


def judge_monitors() -> str:
    late = monitors.judge()
    return f"late: {', '.join(late)}" if late else "none is late"


def prune() -> str:
    return f"alerts: {pruning.prune()}"
