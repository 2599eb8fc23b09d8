"""django-q2's command of this name, which would find no cluster: clusters keep no state in the store."""

from __future__ import annotations

from opsconsole.cluster.no_state import Command

__all__ = ["Command"]
