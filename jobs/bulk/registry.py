"""The registry of bulk operations, by the name of the action."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from jobs.bulk import job_actions, letter_actions
from jobs.bulk.kinds import BulkRefused, Kind, MemberResult
from opsconsole.kit import one_statement

KINDS: dict[str, Kind] = {kind.action: kind for kind in (*job_actions.KINDS, *letter_actions.KINDS)}


def kind_of(action: str) -> Kind:
    """Return the kind. Raise ``BulkRefused`` for an unknown action, which another release may have begun."""
    try:
        return KINDS[action]
    except KeyError:
        raise BulkRefused(
            f"This console does not know the bulk operation '{action}'. It knows: {', '.join(KINDS)}."
        ) from None


def results_of(subjects: Mapping[str, Collection[str]]) -> dict[str, Mapping[str, MemberResult]]:
    """Return what became of each of these subjects, by action, as far as its kind is followed: one statement reads all of it.

    Kinds that look it up alike, such as those that start a job again, share a lookup.
    """
    lookups = {action: kind.results.of for action in subjects if (kind := KINDS[action]).results}
    asked: dict[Any, set[str]] = {}
    for action, lookup in lookups.items():
        asked.setdefault(lookup, set()).update(subjects[action])
    names = {lookup: f"results_{number}" for number, lookup in enumerate(asked)}
    found = one_statement.read(**{names[lookup]: lookup(sorted(keys)) for lookup, keys in asked.items()})
    return {action: found[names[lookups[action]]] if action in lookups else {} for action in subjects}
