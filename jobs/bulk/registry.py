"""The registry of bulk operations, by the name of the action."""

from __future__ import annotations

from jobs.bulk import job_actions, letter_actions
from jobs.bulk.kinds import BulkRefused, Kind

KINDS: dict[str, Kind] = {kind.action: kind for kind in (*job_actions.KINDS, *letter_actions.KINDS)}


def kind_of(action: str) -> Kind:
    """Return the kind. Raise ``BulkRefused`` for an unknown action, which another release may have begun."""
    try:
        return KINDS[action]
    except KeyError:
        raise BulkRefused(
            f"This console does not know the bulk operation '{action}'. It knows: {', '.join(KINDS)}."
        ) from None
