"""Verdicts: what an action would do to one letter, or why it would do nothing. Pure."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from jobs.dead_letters import requeue, undelivered
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter
from jobs.runs import status_wording

State = DeadLetter.State
_LEFT = "It left its queue without the console: SQS deleted it when its time there was over, or somebody else received it."
Verdict = tuple[bool, str]
# The sentences are stored with bulk operations, and the redaction may hide the name later.
NAMED = "(see “Not delivered to” on its page)"
CHOICE = "If a queue of the console is the right one, choose it with “Send to a queue” on the page of the dead letter."


def judge(action: LetterAction, letter: DeadLetter, job: NamedJob | None) -> Verdict:
    """Tell whether the action will be carried out on the letter, with a sentence. ``job``: the job it names, if known."""
    return _JUDGES[action](letter, job)


def of_departure(letter: DeadLetter, job: NamedJob | None, *, may_replay: bool) -> str:
    """Say of a letter that left its queue what that means, and what a replay does then; '' of others.

    ``job``: the job it names, if known; ``may_replay``: whoever reads this is offered a replay. Pure.
    """
    if letter.state != State.GONE:
        return ""
    will, _ = _judge_replay(letter, job)
    if job is not None:
        again = f" Its job is still {status_wording.within_sentence(job.status)}: a replay runs it again."
        return f"{_LEFT}{again if will and may_replay else ''}"
    check = f" Check that before you replay it: a replay sends the stored copy to the queue {letter.queue} once more."
    return f"{_LEFT} Nothing tells whether its work was done.{check if will and may_replay else ''}"


def _judge_replay(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state in _NOT_TO_BE_REPLAYED:
        return False, _NOT_TO_BE_REPLAYED[letter.state]
    if letter.is_to_others:
        return False, _to_others(letter, job)
    if job is not None:
        return requeue.judge(letter, job)
    if letter.queue not in settings.QUEUES:
        return False, _unknown_origin(letter)
    return True, _will_be_sent(letter)


def _will_be_sent(letter: DeadLetter) -> str:
    copy = f"will be sent to the queue {letter.queue} from the stored copy."
    if not letter.dlq.is_configured:
        return f"It {copy} Its dead letter queue was removed from the settings: if it still exists, delete the message there."
    if letter.state == State.IN_QUEUE:
        return f"Will be sent to the queue {letter.queue}, then deleted from the dead letter queue."
    if letter.state == State.GONE:
        return f"It left its queue without the console, and somebody else may have replayed it; it {copy}"
    return f"It {copy}"


def _to_others(letter: DeadLetter, job: NamedJob | None) -> str:
    more = " If its job should run again, requeue it on its page." if job else f" {CHOICE}"
    if letter.addressee == undelivered.LAMBDA:
        return (
            "A Lambda function could not process it, and the message does not say which: invoke the function again with this "
            f"body, then discard the letter.{more}"
        )
    return (
        f"It was on its way to a target {NAMED}, which is no queue of the console: send it there again, then discard the "
        f"letter.{more}"
    )


def _unknown_origin(letter: DeadLetter) -> str:
    if undelivered.is_topic(letter.addressee):
        return (
            f"SNS could not deliver it to a subscriber of a topic {NAMED}, and the message does not say to which: publish it "
            f"again, or send it to the subscriber, then discard the letter. {CHOICE}"
        )
    if not letter.queue:
        return (
            "The queue it came from is not known, because several queues share this dead letter queue. "
            f"{CHOICE} A dead letter queue per queue avoids this."
        )
    return f"The queue '{letter.queue}' it came from is not configured: add it to OPSCONSOLE_QUEUES, or discard the letter. {CHOICE}"


_NOT_TO_BE_REPLAYED: dict[str, str] = {
    State.REPLAYING: "It is already being replayed.",
    State.REPLAYED: "It has already been replayed.",
    State.DISCARDED: "It was discarded: restore it first.",
    State.OUTCOME_UNKNOWN: (
        "It is not known whether it was sent: check whether its work was done, then mark it on its page as sent or not sent."
    ),
}


def _judge_discard(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.IN_QUEUE:
        return True, "Will be deleted from the dead letter queue and kept in the console."
    if letter.state in {State.KEPT, State.GONE}:
        return True, "Will be marked as discarded. It is no longer in its queue."
    return False, f"It is {letter.get_state_display()}: there is nothing to discard."


def _judge_restore(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.DISCARDED:
        return True, "Will be kept in the console, so that it can be replayed or discarded again."
    return False, f"It is {letter.get_state_display()}: there is nothing to restore."


def _judge_mark_sent(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.OUTCOME_UNKNOWN:
        return True, "Will count as replayed and be deleted from the dead letter queue."
    return False, "Its outcome is not in doubt."


def _judge_mark_not_sent(letter: DeadLetter, job: NamedJob | None) -> Verdict:
    if letter.state == State.OUTCOME_UNKNOWN:
        return True, "Will count as not sent, so that it can be replayed again."
    return False, "Its outcome is not in doubt."


_JUDGES: dict[LetterAction, Callable[[DeadLetter, NamedJob | None], Verdict]] = {
    LetterAction.REPLAY: _judge_replay,
    LetterAction.DISCARD: _judge_discard,
    LetterAction.RESTORE: _judge_restore,
    LetterAction.MARK_SENT: _judge_mark_sent,
    LetterAction.MARK_NOT_SENT: _judge_mark_not_sent,
}
