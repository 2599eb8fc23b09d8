"""Ledger entries: one row per action on a dead letter, with who and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from jobs.models import DeadLetter, ReplayAttempt
from jobs.runs.timeline import Actor

LetterAction = ReplayAttempt.Action
State = ReplayAttempt.State
# The ids are one parameter, as in every statement on a page of letters.
_UNFINISHED = """
SELECT * FROM dead_letter_ledger
 WHERE letter_id = ANY(%(ids)s::uuid[]) AND state IN ({unfinished})
""".replace("{unfinished}", ", ".join(f"'{state}'" for state in ReplayAttempt.UNFINISHED))


def entry(
    letter: DeadLetter, action: LetterAction, state: State, actor: Actor, reason: str, **more: Any
) -> ReplayAttempt:
    """Return an unsaved row. ``more`` are the fields of its state."""
    return ReplayAttempt(
        letter_id=letter.pk,
        action=action,
        state=state,
        actor=actor.name,
        user_id=actor.user_id,
        reason=reason,
        **more,
    )


def of_letters(letters: Iterable[DeadLetter]) -> dict[UUID, ReplayAttempt]:
    """Return the unfinished row of each letter that has one, by the letter's id."""
    if not (ids := [letter.pk for letter in letters]):
        return {}
    rows = ReplayAttempt.objects.raw(_UNFINISHED, {"ids": ids})
    return {row.letter_id: row for row in rows}
