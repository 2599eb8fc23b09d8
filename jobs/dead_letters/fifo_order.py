"""The order of FIFO groups: no letter is sent while nobody knows whether an earlier one of its group was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q

from jobs.letter_ledger.entries import LetterAction, State
from jobs.models import DeadLetter, ReplayAttempt
from jobs.operations.steps import Step
from opsconsole.kit.counting import exactly, plural
from opsconsole_worker import sqs

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


def with_waits(steps: Sequence[Step], to_send: Iterable[DeadLetter]) -> list[Step]:
    """Return the steps; those that replay one of these letters say so where it will wait behind one of unknown outcome.

    ``to_send``: the letters that are sent as they are. One whose job is requeued waits for no other letter.
    """
    replays = {step.job_id for step in steps if step.action == LetterAction.REPLAY and step.will}
    behind = _behind([letter for letter in to_send if letter.pk in replays])
    return [
        replace(step, sentence=f"{step.sentence} {WAITS}") if step.job_id in behind & replays else step
        for step in steps
    ]


def _behind(letters: Sequence[DeadLetter]) -> set[UUID]:
    """Return which of these letters stand behind one of unknown outcome in the message group of their queue."""
    queues = {letter.pk: letter.queue for letter in letters if _is_fifo(letter.queue)}
    by_queue: dict[str, list[tuple[UUID, dict[str, str], datetime | None]]] = defaultdict(list)
    rows = DeadLetter.objects.filter(pk__in=queues).values_list("pk", "system_attributes", "sent_at")
    for pk, attributes, sent_at in rows if queues else ():
        by_queue[queues[pk]].append((pk, attributes, sent_at))
    waiting: set[UUID] = set()
    for queue, some in by_queue.items():
        doubtful = _doubtful(queue, {group for _, each, _ in some if (group := each.get("MessageGroupId"))})
        for pk, attributes, sent_at in some:
            here = _Place(attributes.get("SequenceNumber", ""), sent_at)
            if any(place.is_before(here) for place in doubtful.get(attributes.get("MessageGroupId", ""), ())):
                waiting.add(pk)
    return waiting


def _is_fifo(queue: str) -> bool:
    return queue in settings.QUEUES and sqs.is_fifo(settings.QUEUES[queue].url)


def doubtful_groups() -> list[str]:
    """Return a sentence per FIFO queue with letters of unknown outcome, behind which others of their groups wait."""
    fifo = [name for name in settings.QUEUES if _is_fifo(name)]
    unknown = DeadLetter.objects.filter(state=DeadLetter.State.OUTCOME_UNKNOWN, queue__in=fifo)
    counts = unknown.order_by("queue").values_list("queue").annotate(Count("pk")) if fifo else ()
    return [
        f"Of {exactly(count, 'dead letter')} of the FIFO queue {queue} nobody knows whether {plural(count, 'it was', 'they were')} "
        "sent: later ones of the same message group wait until somebody has marked it as sent or as not sent."
        for queue, count in counts
    ]


def waiting_in_words(letter_ids: Collection[UUID]) -> str:
    """Say how many of these letters wait for that reason; '' when none does."""
    attempts = ReplayAttempt.objects.filter(letter_id__in=letter_ids, state=State.WANTED, outcome=WAITS)
    count = attempts.count() if letter_ids else 0
    return f"{exactly(count, 'dead letter')} of FIFO groups: {WAITS[0].lower()}{WAITS[1:]}" if count else ""
