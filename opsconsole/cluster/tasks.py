"""Tasks that the cluster runs about itself."""

from __future__ import annotations

from django.db.models.functions import Now

from alerts import tasks as alert_tasks
from opsconsole.cluster import failing_tasks
from opsconsole.kit.models import ClusterProgress
from opsconsole.sign_in import failures, second_factor
from opsconsole.sign_in.session_store import SessionStore


def tick(cluster_id: str, probe: int) -> None:
    """Prove that a task came through the cluster; its supervisor waits for this row to advance."""
    ClusterProgress.objects.filter(pk=cluster_id).update(probe=probe, progressed_at=Now())


def judge() -> str:
    """Alert about monitors that are late, and about scheduled tasks that keep failing."""
    return f"{alert_tasks.judge_monitors()}; {failing_tasks.watch()}"


def delete_outdated_log_ins() -> None:
    """Delete what log-ins left: ended sessions, failures that no longer count, and devices that were never confirmed."""
    SessionStore.clear_expired()
    failures.delete_outdated()
    second_factor.delete_unconfirmed()
