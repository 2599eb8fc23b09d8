"""What the overview keeps for a moment."""

from __future__ import annotations

from django.core.cache.backends.locmem import LocMemCache

SLOW_KEPT_SECONDS = 20

# In this process, because the pages must also open when the shared cache is away.
memory = LocMemCache("overview", {})
