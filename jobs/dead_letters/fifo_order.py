"""The order of FIFO groups: no letter is sent while nobody knows whether an earlier one of its group was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from django.db.models import Q

from jobs.letter_ledger.entries import State
from jobs.models import DeadLetter, ReplayAttempt
from opsconsole.kit.counting import exactly

WAITS = (
    "It waits: nobody knows whether an earlier letter of its message group was sent. It is sent once somebody has marked that one "
    "as sent or as not sent."
)


class GroupMember(Protocol):
    """A letter to send, as ``jobs.dead_letters.sending`` has it."""

    @property
    def attempt(self) -> ReplayAttempt: ...

    @property
    def letter(self) -> DeadLetter: ...

    @property
    def system_attributes(self) -> dict[str, str]: ...

    @property
    def group(self) -> str | None: ...


Parcel = TypeVar("Parcel", bound=GroupMember)


class _Place(NamedTuple):
    """Where a message stands in its group. ``number`` is SQS's, '' where it is not known."""

    number: str
    sent_at: datetime | None

    def is_before(self, other: _Place) -> bool:
        if self.number.isdecimal() and other.number.isdecimal():
            return int(self.number) < int(other.number)
        # In doubt it is before: what is sent too early can't be called back.
        return self.sent_at is None or other.sent_at is None or self.sent_at <= other.sent_at


def free_to_go(queue: str, parcels: Sequence[Parcel]) -> list[Parcel]:
    """Return the parcels of this FIFO queue without those that wait behind a letter of unknown outcome, and note why these wait."""
    doubtful = _doubtful(queue, {parcel.group for parcel in parcels if parcel.group is not None})
    behind = {
        parcel.attempt.pk
        for parcel in parcels
        for place in doubtful.get(parcel.group or "", ())
        if place.is_before(_Place(parcel.system_attributes.get("SequenceNumber", ""), parcel.letter.sent_at))
    }
    if behind:
        waiting = ReplayAttempt.objects.filter(pk__in=behind, state=State.WANTED)
        waiting.exclude(outcome=WAITS).update(outcome=WAITS)
    return [parcel for parcel in parcels if parcel.attempt.pk not in behind]


def _doubtful(queue: str, groups: Collection[str]) -> dict[str, list[_Place]]:
    """Return by group where letters stand that were sent or not: of unknown outcome, or with the intent of a process recorded."""
    if not groups:
        return {}
    letters = DeadLetter.objects.filter(queue=queue, system_attributes__MessageGroupId__in=list(groups))
    intended = ReplayAttempt.objects.filter(state=State.SENDING).values_list("letter_id", flat=True)
    unknown = Q(state=DeadLetter.State.OUTCOME_UNKNOWN) | Q(pk__in=list(intended))
    found: dict[str, list[_Place]] = defaultdict(list)
    for attributes, sent_at in letters.filter(unknown).values_list("system_attributes", "sent_at"):
        found[attributes["MessageGroupId"]].append(_Place(attributes.get("SequenceNumber", ""), sent_at))
    return found


def told(letter_ids: Collection[UUID]) -> str:
    """Say how many of these letters wait for that reason; '' when none does."""
    attempts = ReplayAttempt.objects.filter(letter_id__in=letter_ids, state=State.WANTED, outcome=WAITS)
    count = attempts.count() if letter_ids else 0
    return f"{exactly(count, 'dead letter')} of FIFO groups: {WAITS[0].lower()}{WAITS[1:]}" if count else ""
