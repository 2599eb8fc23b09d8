"""Counts that are forgotten because an operator frees a client: in the store, and in the memory of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from redis.exceptions import RedisError

from opsconsole.kit.errors import OpsConsoleError
from ratelimits.engine.questions import AnyStore, PolicyAndKey, Question


class StoreAway(OpsConsoleError):
    """What was asked for needs the shared store, which does not answer; the message says what was not done."""


ALONE = (
    "Each process counts for itself (OPSCONSOLE_RATE_LIMIT_STORE=memory), and no other one can make it forget. Nothing was "
    "freed. Restart the web processes, or wait until the window is over."
)


class Memory(Protocol):
    def forget(self, key: str) -> None: ...


def forget(store: AnyStore | None, memories: Sequence[Memory], counted: Sequence[PolicyAndKey]) -> list[int]:
    """Forget what a client used under each policy, and return how much that was. Raise ``StoreAway``.

    The store is asked also during an outage: somebody waits for the answer.
    """
    try:
        used = _used(store, counted) if store else [0 for _ in counted]
        if store:
            store.delete([key for _, key in counted])
    except RedisError as error:
        raise StoreAway(
            f"The store does not answer, so nothing was freed in it: {type(error).__name__}. Try again."
        ) from error
    for memory in memories:
        for _, key in counted:
            memory.forget(key)
    return used


def _used(store: AnyStore, counted: Sequence[PolicyAndKey]) -> list[int]:
    used = []
    for answer in store.ask([Question(store.shard(key), [(policy, key)], 0) for policy, key in counted]):
        if isinstance(answer, RedisError):
            raise answer
        used.append(answer.numbers[1])
    return used
