"""The lineage of a letter: which earlier letter it comes from ("replayed twice, came back twice")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from jobs.models import ReplayAttempt


@dataclass(frozen=True)
class Trace:
    """What links a new letter to an earlier one: the message id of a replay, or a requeue of its job.

    ``copy_of``: the message of which a worker made the letter because it could not read it; '' when the letter is no copy.
    """

    message_id: str
    job_id: UUID | None
    run_epoch: int | None
    sent_at: datetime | None
    copy_of: str = ""


@dataclass(frozen=True)
class EarlierLetter:
    """The letter that came back. ``returns``: how often it had come back before."""

    letter_id: UUID
    returns: int


def earlier_of(traces: Sequence[Trace]) -> dict[str, EarlierLetter]:
    """Return the earlier letter of each one that came back, by the new message id."""
    sent = {name for trace in traces for name in (trace.message_id, trace.copy_of) if name}
    by_message = {replay.new_message_id: replay for replay in _replays().filter(new_message_id__in=sent)}
    by_job = _requeues([trace.job_id for trace in traces if trace.job_id])
    earlier_letters = {}
    for trace in traces:
        replay = by_message.get(trace.message_id) or by_message.get(trace.copy_of) or _newest(trace, by_job)
        if replay:
            earlier_letters[trace.message_id] = EarlierLetter(replay.letter_id, replay.letter.returns)
    return earlier_letters


def _replays() -> QuerySet[ReplayAttempt]:
    replays = ReplayAttempt.objects.filter(action=ReplayAttempt.Action.REPLAY).select_related("letter")
    return replays.only("job_epoch", "new_message_id", "sent_at", "letter__returns", "letter__job_id")


def _requeues(job_ids: Iterable[UUID]) -> dict[UUID | None, list[ReplayAttempt]]:
    of_job: dict[UUID | None, list[ReplayAttempt]] = defaultdict(list)
    requeues = _replays().filter(letter__job_id__in=list(job_ids), job_epoch__isnull=False)
    for replay in requeues.order_by("-pk"):
        of_job[replay.letter.job_id].append(replay)
    return of_job


def _newest(trace: Trace, by_job: dict[UUID | None, list[ReplayAttempt]]) -> ReplayAttempt | None:
    """Return the last requeue that this letter can come from, by its run or, when it names none, by its time."""
    for replay in by_job.get(trace.job_id, ()):
        if trace.run_epoch is not None:
            if replay.job_epoch is not None and replay.job_epoch <= trace.run_epoch:
                return replay
        elif replay.sent_at and trace.sent_at and replay.sent_at <= trace.sent_at:
            return replay
    return None
