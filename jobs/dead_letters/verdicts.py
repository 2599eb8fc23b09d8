"""What an action would do to one letter, and why not when it would not. Pure."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from jobs.dead_letters import requeue
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import Action
from jobs.models import DeadLetter

State = DeadLetter.State
Verdict = tuple[bool, str]


def judge(action: Action, letter: DeadLetter, job: NamedJob | None) -> Verdict:
    """Whether the action will be done to the letter, and a sentence. ``job``: the one it names, if known."""
    return _JUDGES[action](letter, job)


def _judge_replay(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state in _NOT_TO_BE_REPLAYED:
        return False, _NOT_TO_BE_REPLAYED[letter.state]
    if job is not None:
        return requeue.judge(letter, job)
    if letter.queue not in settings.QUEUES:
        return False, _unknown_origin(letter)
    if letter.state == State.IN_QUEUE:
        return True, f"Will be sent to the queue {letter.queue}, then deleted from the dead letter queue."
    copy = f"will be sent to the queue {letter.queue} from the copy that is kept here."
    if letter.state == State.GONE:
        return True, f"It left its queue without the console, perhaps replayed by somebody else; it {copy}"
    return True, f"It {copy}"


def _unknown_origin(letter: DeadLetter) -> str:
    if not letter.queue:
        return "The queue that it came from is not known: several share this dead letter queue."
    return f"The queue '{letter.queue}' that it came from is not configured (any more)."


_NOT_TO_BE_REPLAYED: dict[str, str] = {
    State.REPLAYING: "It is being replayed already.",
    State.REPLAYED: "It was replayed before.",
    State.DISCARDED: "It was discarded: restore it first.",
    State.OUTCOME_UNKNOWN: (
        "Whether it was sent is not known: look for its work, then mark it on its page as sent or not sent."
    ),
}


def _judge_discard(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.IN_QUEUE:
        return True, "Will be deleted from the dead letter queue, and kept in the console."
    if letter.state in {State.KEPT, State.GONE}:
        return True, "Is no longer in its queue: will be marked as discarded."
    return False, f"It is {letter.get_state_display()}: nothing to discard."


def _judge_restore(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.DISCARDED:
        return True, "Will be kept in the console, to be decided about again."
    return False, f"It is {letter.get_state_display()}: nothing to restore."


def _judge_mark_sent(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.OUTCOME_UNKNOWN:
        return True, "Will count as replayed, and be deleted from the dead letter queue."
    return False, "Its outcome is not in doubt."


def _judge_mark_not_sent(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.OUTCOME_UNKNOWN:
        return True, "Will count as not sent, so that it can be replayed again."
    return False, "Its outcome is not in doubt."


_JUDGES: dict[Action, Callable[[DeadLetter, NamedJob | None], Verdict]] = {
    Action.REPLAY: _judge_replay,
    Action.DISCARD: _judge_discard,
    Action.RESTORE: _judge_restore,
    Action.MARK_SENT: _judge_mark_sent,
    Action.MARK_NOT_SENT: _judge_mark_not_sent,
}
