"""Tasks that the cluster runs on a schedule (``opsconsole.cluster.schedules``)."""

from __future__ import annotations

from opsconsole.retention import sizes


def sample_sizes() -> None:
    sizes.sample()
