"""All that can be done in bulk, by the name of its action."""

from __future__ import annotations

from jobs.bulk import job_actions, letter_actions
from jobs.bulk.kinds import BulkRefused, Kind

KINDS: dict[str, Kind] = {kind.action: kind for kind in (*job_actions.KINDS, *letter_actions.KINDS)}


def kind_of(action: str) -> Kind:
    """Raises ``BulkRefused`` for an action that this console doesn't know (another release began it)."""
    try:
        return KINDS[action]
    except KeyError:
        raise BulkRefused(f"This console knows no bulk operation '{action}': {', '.join(KINDS)}.") from None
