"""Ledger entries: one row per action on a dead letter, with who and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from jobs.models import DeadLetter, ReplayAttempt
from jobs.runs.timeline import Actor
from opsconsole.kit.postgresql.binary_values import insert_lists

LetterAction = ReplayAttempt.Action
State = ReplayAttempt.State
_INSERT = """
INSERT INTO dead_letter_ledger (letter_id, action, state, actor, user_id, reason, from_copy, edited_body, job_epoch, ended_at)
SELECT entry.*, CASE state WHEN 'done' THEN statement_timestamp() END
  FROM unnest(%(letter_ids)b::uuid[], %(actions)b::text[], %(states)b::text[], %(actors)b::text[], %(user_ids)b::int[],
              %(reasons)b::text[], %(from_copies)b::bool[], %(edited_bodies)b::text[], %(job_epochs)b::int[])
       AS entry (letter_id, action, state, actor, user_id, reason, from_copy, edited_body, job_epoch)
"""
# The ids are one parameter, as in every statement on a page of letters.
_UNFINISHED = """
SELECT * FROM dead_letter_ledger
 WHERE letter_id = ANY(%(ids)s::uuid[]) AND state IN ({unfinished})
""".replace("{unfinished}", ", ".join(f"'{state}'" for state in ReplayAttempt.UNFINISHED))


class NewEntry(NamedTuple):
    """A row that is not yet written. The database gives it its times: when it was wanted, and when it ended if it is done."""

    letter_id: UUID
    action: LetterAction
    state: State
    actor: Actor
    reason: str
    from_copy: bool = False
    edited_body: str | None = None
    job_epoch: int | None = None


def write(entries: Sequence[NewEntry]) -> None:
    """Write many rows at once, in their order."""
    insert_lists(_INSERT, entries, _lists)


def _lists(entries: Sequence[NewEntry]) -> dict[str, Any]:
    return {
        "letter_ids": [each.letter_id for each in entries],
        "actions": [each.action.value for each in entries],
        "states": [each.state.value for each in entries],
        "actors": [each.actor.name for each in entries],
        "user_ids": [each.actor.user_id for each in entries],
        "reasons": [each.reason for each in entries],
        "from_copies": [each.from_copy for each in entries],
        "edited_bodies": [each.edited_body for each in entries],
        "job_epochs": [each.job_epoch for each in entries],
    }


def of_letters(letters: Iterable[DeadLetter]) -> dict[UUID, ReplayAttempt]:
    """Return the unfinished row of each letter that has one, by the letter's id."""
    if not (ids := [letter.pk for letter in letters]):
        return {}
    rows = ReplayAttempt.objects.raw(_UNFINISHED, {"ids": ids})
    return {row.letter_id: row for row in rows}
