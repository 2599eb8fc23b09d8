"""What the overview keeps for a moment."""

from __future__ import annotations

from opsconsole.kit.kept_objects import KeptObjects

SLOW_KEPT_SECONDS = 20

# In this process, because the pages must also open when the shared cache is away.
memory = KeptObjects()
