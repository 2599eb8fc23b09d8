"""The settings of a cluster that also runs the task of ``tests.opsconsole.cluster.gate``."""

from __future__ import annotations

from opsconsole.cluster import task_table
from opsconsole.settings import *  # noqa: F403

GATE = "tests.opsconsole.cluster.gate.wait_for_gate"

task_table.UNSCHEDULED |= {GATE}
