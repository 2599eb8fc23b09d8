"""The answers of the script, which are believed only as far as the script can give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from ratelimits.engine.questions import Answer, Question, Standing

# In microseconds, per second of a window.
LONGEST = 2_000_001
STRANGE = "The answer is none of the limiter's script to this question"


class OddNumbers(ResponseError):
    """What the store says of a client contradicts itself: others wrote something to its keys, or it is no store."""


def answer_to(question: Question, named: int, reply: Any, *, server: int = 0) -> Answer:
    """Return the answer that a reply to a question is. ``named``: the generation that the script was given.

    ``server``: what stands before the generation, of a server of a cluster.

    Raise ``InvalidResponse`` for what the script never answers, and ``OddNumbers`` for what it can only answer about keys that
    others wrote to.
    """
    try:
        integers = type(reply) is list and type(sum(reply)) is int
    except TypeError:
        integers = False
    counted, cost = question.counted, question.cost
    if (
        not integers
        or len(reply) != 2 + 3 * len(counted)
        or reply[0] != (named or max(1, reply[0]))
        or reply[1] < 1
    ):
        if integers and len(reply) == 1 and named and 0 < reply[0] != named:
            # Of another generation than the named one, the script says no more.
            return Answer(server | reply[0], ())
        raise InvalidResponse(STRANGE)
    generation, at, *_ = reply
    generation |= server
    numbers = iter(reply[2:])
    standings = []
    for (policy, _), fits, used, free in zip(counted, numbers, numbers, numbers, strict=True):
        # A counter counts for two windows, and what is exactly as old as a window still counts.
        can_be = used <= policy.limit if fits == 1 else fits == 0 and used + cost > policy.limit
        if not can_be or used < 0 or not 0 <= free <= policy.window * LONGEST:
            raise OddNumbers("The store contradicts itself about this client")
        standings.append(Standing(fits == 1, used, free, at, generation))
    return Answer(generation, standings, at)


def all_deleted(answers: Sequence[Any]) -> None:
    """Raise ``ResponseError`` if the store refused to delete each of some keys, ``InvalidResponse`` if it did not say that it did."""
    refusals = [answer for answer in answers if isinstance(answer, ResponseError)]
    if answers and len(refusals) == len(answers):
        raise refusals[0]
    for answer in answers:
        if isinstance(answer, RedisError) and not isinstance(answer, ResponseError):
            raise answer
    if not all(type(answer) is int for answer in answers):
        raise InvalidResponse("The store deleted some counts at most")
