"""Tasks that the cluster runs on a schedule (``opsconsole.cluster.task_table``)."""

from __future__ import annotations

from opsconsole.retention import audit_lines, month_drop, sizes


def sample_sizes() -> None:
    sizes.sample()


def drop_months() -> str:
    results = list(month_drop.drop_due())
    return "; ".join(f"{result.month}: {result.sentence}" for result in results) or "no month is due"


def delete_audit_lines() -> str:
    run = audit_lines.delete()
    return f"{run.rows} lines deleted. {run.why}".strip()
