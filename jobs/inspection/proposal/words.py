"""The status words that databases use, and those about which a person has to be asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from opsconsole.kit.mapping import COMPLETED, IN_PROGRESS, PENDING, STATUSES

# The first known word of a list is the one that is written.
KNOWN: Mapping[str, tuple[str, ...]] = {
    "pending": (
        "pending", "queued", "enqueued", "available", "ready", "created", "scheduled", "accepted", "free", "new", "waiting",
    ),
    "in_progress": (
        "in progress", "running", "processing", "active", "started", "inprogress", "working", "executing", "open", "syncing",
        "setup", "uploading", "previewing",
    ),
    "completed": (
        "completed", "complete", "finished", "success", "successful", "succeeded", "ok", "done", "closed", "passed",
    ),
    "failed": ("failed", "error", "failure", "expired", "invalid"),
    "cancelled": ("cancelled", "canceled", "cancelled by user", "canceled by user", "aborted", "killed", "skipped"),
    "quarantined": ("quarantined", "dead", "dead letter"),
}  # fmt: skip
STEPS = frozenset({"setup", "uploading", "previewing", "syncing"})
# Words that mean one thing here and another there: never mapped by a proposal.
ASK: Mapping[str, str] = {
    "errored": "it may be tried again by your own programs; if it never is, add it to failed",
    "locked": "taken, but perhaps not begun; if a run is going on then, add it to in_progress",
    "assigned": "taken, but perhaps not begun; if a run is going on then, add it to in_progress",
    "requested": "taken, but perhaps not begun; if a run is going on then, add it to in_progress",
    "warning": "it may be a completed job with remarks; if so, add it to completed",
    "complete with errors": "it may be a completed job with remarks; if so, add it to completed",
    "paused": "left alone: a paused job is neither waiting nor running",
    "suspended": "left alone: such a job is neither waiting nor running",
    "unknown": "left alone: nothing tells what it means",
    "canceling": "a run is still going on; left alone, so that nobody sends the job again",
    "cancelling": "a run is still going on; left alone, so that nobody sends the job again",
    "cancel requested": "a run is still going on; left alone, so that nobody sends the job again",
    "killing": "a run is still going on; left alone, so that nobody sends the job again",
}
# Taken only where the status has no better word, and then with a doubt.
LAST_RESORT: Mapping[str, str] = {
    "waiting": "it may mean that something else must happen first; then such a job must not be sent",
    "done": "it may mean that the job ended, whatever the outcome",
    "error": "it may be final, or tried again by your own programs",
}
_MEANINGS = {word: status for status, known in KNOWN.items() for word in known}


@dataclass(frozen=True)
class StatusWords:
    """Which words of theirs mean which status of ours, and why one should look at some of them."""

    by_status: Mapping[str, tuple[str, ...]]
    doubts: tuple[str, ...] = ()

    def status_of(self, word: str | None) -> str | None:
        return next((status for status, words in self.by_status.items() if word in words), None)


def plain(word: str) -> str:
    """Return a word as the lists above spell it. Only for recognition: a mapping has the word exactly as it is."""
    return re.sub(r"[\s_-]+", " ", word.strip()).lower()


def meaning(word: str) -> str | None:
    """Return the status of ours that a word usually means, or None."""
    return _MEANINGS.get(plain(word))


def divide(present: Iterable[str], *, free: bool = False, initial: str = "") -> StatusWords:
    """Return the proposal for these words: the ambiguous ones are doubts, and unknown ones are left alone.

    ``free``: the column accepts any text. Where such words are those of the contract, and a run is among them, so are the words
    of the contract that no row has at present. ``initial``: the word of a new row, which workers claim; it is written if it waits.
    """
    doubts: list[str] = []
    by_status: dict[str, tuple[str, ...]] = {}
    present = list(dict.fromkeys(present))
    for status in STATUSES:
        order = KNOWN[status]
        mine = sorted(
            (word for word in present if meaning(word) == status),
            key=lambda word: (word != initial, order.index(plain(word))),
        )
        certain = [word for word in mine if plain(word) not in LAST_RESORT]
        by_status[status] = tuple(certain or mine[:1])
        doubts += _doubts(status, mine, by_status, present)
    for word in present:
        if meaning(word) is None:
            why = ASK.get(plain(word), "not a word that is known; left alone as it is")
            doubts.append(f"{word!r}: {why}")
    if free and by_status[IN_PROGRESS] and all(by_status[status] in {(), (status,)} for status in STATUSES):
        doubts += [
            f"{status!r} is in none of the rows that were read: taken as its own word"
            for status in (PENDING, COMPLETED)
            if not by_status[status]
        ]
        by_status |= {status: (status,) for status in STATUSES}
    return StatusWords(by_status, tuple(doubts))


def _doubts(
    status: str, mine: list[str], by_status: Mapping[str, tuple[str, ...]], present: list[str]
) -> Iterable[str]:
    waiting = by_status[status] if status == PENDING else ()
    if len({plain(word) for word in waiting}) > 1:
        others = ", ".join(map(repr, waiting[1:]))
        yield f"{waiting[0]!r} is written for a job that waits, and {others} read as well: check that workers claim {waiting[0]!r}"
    for word in mine:
        spelled = plain(word)
        if spelled in LAST_RESORT and not (spelled == "done" and _has_failed(present)):
            taken = f"read as {status}" if word in by_status[status] else "left out"
            yield f"{word!r} is {taken}: {LAST_RESORT[spelled]}"
        if spelled in STEPS:
            yield f"{word!r} is read as {status}: it seems to be a step of a run"
        if spelled == "queued" and any(plain(other) == "created" for other in present):
            yield f"{word!r} beside 'created': it may be held back until there is room"


def _has_failed(present: Iterable[str]) -> bool:
    return any(meaning(word) == "failed" for word in present)
