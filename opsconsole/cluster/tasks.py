"""Tasks that the cluster runs about itself."""

from __future__ import annotations

from django.db.models.functions import Now

from opsconsole.kit.models import ClusterProgress


def tick(cluster_id: str, probe: int) -> None:
    """Prove that a task came through the cluster; its supervisor waits for this row to advance."""
    ClusterProgress.objects.filter(pk=cluster_id).update(probe=probe, progressed_at=Now())
