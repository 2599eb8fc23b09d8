"""Tasks that the cluster runs about itself."""

from __future__ import annotations

from django.db.models.functions import Now

from opsconsole.kit.models import ClusterProgress
from opsconsole.sign_in import failures, second_factor
from opsconsole.sign_in.session_store import SessionStore


def tick(cluster_id: str, probe: int) -> None:
    """Prove that a task came through the cluster; its supervisor waits for this row to advance."""
    ClusterProgress.objects.filter(pk=cluster_id).update(probe=probe, progressed_at=Now())


def delete_outdated_log_ins() -> None:
    """Delete what log-ins left: ended sessions, failures that no longer count, and devices that were never confirmed."""
    SessionStore.clear_expired()
    failures.delete_outdated()
    second_factor.delete_unconfirmed()
