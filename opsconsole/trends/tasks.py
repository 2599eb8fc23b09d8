"""The task that the cluster runs each minute (``opsconsole.cluster.task_table``)."""

from __future__ import annotations

from opsconsole.trends import rollup


def count() -> str:
    return str(rollup.count())
