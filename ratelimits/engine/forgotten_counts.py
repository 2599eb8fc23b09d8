"""Counts that are forgotten because an operator frees a client: in the store, and in the memory of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redis.exceptions import RedisError, ResponseError

from opsconsole.kit.errors import OpsConsoleError, first_line
from ratelimits.engine.questions import AnyStore, PolicyAndKey, Question


class StoreAway(OpsConsoleError):
    """What was asked for needs the shared store, which does not answer; the message says what was not done."""


class FreeUnconfirmed(StoreAway):
    """The store was told to forget what a client used, and did not confirm it: perhaps it did."""


ALONE = (
    "Each process counts for itself (OPSCONSOLE_RATE_LIMIT_STORE=memory), and no other one can make it forget. Nothing was "
    "freed. Restart the web processes, or wait until the window is over."
)


class Memory(Protocol):
    def forget(self, key: str) -> None: ...


def forget(store: AnyStore | None, memories: Sequence[Memory], counted: Sequence[PolicyAndKey]) -> list[int]:
    """Forget what a client used under each policy, and return how much that was.

    Raise ``StoreAway``, or ``FreeUnconfirmed`` if nobody knows whether the store has forgotten it. The store is asked also during
    an outage: somebody waits for the answer.
    """
    try:
        used = _used(store, counted) if store else [0 for _ in counted]
    except RedisError as error:
        raise StoreAway(
            f"The store does not answer, so nothing was freed in it: {type(error).__name__}. Try again."
        ) from error
    if store:
        _delete(store, [key for _, key in counted])
    for memory in memories:
        for _, key in counted:
            memory.forget(key)
    return used


def _delete(store: AnyStore, keys: Sequence[str]) -> None:
    try:
        store.delete(keys)
    except ResponseError as error:
        raise StoreAway(
            f"The store refuses to forget what the client used, so nothing was freed in it: {first_line(error)}."
        ) from error
    except RedisError as error:
        raise FreeUnconfirmed(
            "The store was told to forget what the client used, and did not confirm it: it is unknown whether the client was "
            f"freed ({type(error).__name__}). Free it again: if it was freed, that changes nothing."
        ) from error


def _used(store: AnyStore, counted: Sequence[PolicyAndKey]) -> list[int]:
    used = []
    for answer in store.ask([Question(store.shard(key), [(policy, key)], 0) for policy, key in counted]):
        if isinstance(answer, RedisError):
            raise answer
        used.append(answer.standings[0].used)
    return used
