"""What the store is asked and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from redis.exceptions import RedisError, ResponseError

from ratelimits.engine.admissions import NOTHING, Owed
from ratelimits.engine.store_facts import StoreFacts
from ratelimits.policies.policy_snapshot import ENFORCE, PolicySnapshot

PREFIX = "rl:"
# Neither can be the name of a policy.
GENERATION = "(generation)"
PROBE = PolicySnapshot(name="(probe)", limit=1_000_000, window=10, algorithm="counter")
# A policy, and the key under which the client counts.
PolicyAndKey = tuple[PolicySnapshot, str]


class SlotMoves(ResponseError):
    """A cluster is moving what it knows of this client, and will answer soon. Nothing is wrong with the client's keys."""


class Question(NamedTuple):
    """Policies whose keys are in one shard, so that one script counts under all of them or none.

    If ``generation`` is not the store's, nothing is counted, and the answer has only the store's generation.
    ``owed``: for each policy, what the store does not know. A cost of 0 only tells it.
    """

    shard: str
    counted: Sequence[PolicyAndKey]
    cost: int
    generation: int = 0
    owed: Sequence[Owed] = ()


class Standing(NamedTuple):
    """How a client stands under one policy. ``microseconds``: see ``ratelimits.engine.script``; ``at``: the store's time."""

    fits: bool
    used: int
    microseconds: int
    at: int
    generation: int


class Answer(NamedTuple):
    """The generation, how the client stands under each policy (nothing if another generation was named), and the store's time."""

    generation: int
    standings: Sequence[Standing]
    at: int = 0


@dataclass(frozen=True)
class Return:
    """What was counted at a time of the store's, and is to be counted no longer. ``generation``: that of the answer."""

    shard: str
    counted: Sequence[PolicyAndKey]
    cost: int
    at: int
    generation: int


class AnyStore(Protocol):
    """One server, or a cluster. Every failure is a ``RedisError``."""

    def shard(self, key: str) -> str:
        """Return which part of the store counts under a key. Keys of one shard are counted together or not at all."""
        ...

    def neighbours(self, shards: Sequence[str]) -> list[list[str]]:
        """Return these shards by the server that has them: they lose their data together."""
        ...

    def ask(self, questions: Sequence[Question]) -> list[Answer | RedisError]:
        """Ask all questions at once."""
        ...

    def take_back(self, returns: Sequence[Return]) -> None:
        """Count less again."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Forget what is counted under these keys.

        A ``ResponseError`` says that nothing was forgotten; after any other ``RedisError``, it is unknown what was.
        """
        ...

    def probe(self) -> None:
        """Count a request under a key of our own, as for a client. This needs all that the limiter needs, such as writing."""
        ...

    def eviction(self) -> str:
        """Return the ``maxmemory-policy`` of a store that evicts keys; '' for any other and while it does not answer."""
        ...

    def facts(self) -> StoreFacts:
        """Return what decides whether counts are kept, and the store's time."""
        ...


def arguments(question: Question, names: Sequence[str], generation: int) -> list[Any]:
    """Return the arguments of the script: the keys, the generation's last, then what it reads."""
    given: list[Any] = [len(names), *names, question.cost, generation]
    for (policy, _), unknown in zip(question.counted, question.owed or repeat(NOTHING)):  # noqa: B905 - without an end
        refuses = "1" if policy.mode == ENFORCE else "0"
        given += (policy.algorithm, policy.limit, policy.window, refuses, *unknown)
    return given


def returned(give: Return, names: Sequence[str]) -> list[Any]:
    """Return the arguments of the script that takes counts back."""
    windows = [policy.window for policy, _ in give.counted]
    return [len(names), *names, give.cost, give.at, *windows]
