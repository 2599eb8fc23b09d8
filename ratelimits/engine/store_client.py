"""The client of the store: reusable connections, and the script that it runs. Only the engine uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any

from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface, ConnectionPool
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from ratelimits.engine import script
from ratelimits.engine.admissions import NOTHING, Owed
from ratelimits.policies.policy_snapshot import ENFORCE, PolicySnapshot

TIMEOUT_SECONDS = 0.1
PREFIX = "rl:"
# Neither can be the name of a policy.
GENERATION = f"{PREFIX}(generation)"
PROBE = PolicySnapshot(name="(probe)", limit=1_000_000, window=10, algorithm="counter")
# A policy, and the key under which the store counts the client.
PolicyAndKey = tuple[PolicySnapshot, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The store's generation, and three numbers for each policy (see ``ratelimits.engine.script``)."""

    generation: int
    numbers: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What a store says of itself. ``keeps``: whether a restart keeps the counts; None: it does not say."""

    eviction: str
    keeps: bool | None
    time: datetime


class Store:
    """Reusable connections to the store, and the script that it runs. Every failure is a ``RedisError``."""

    def __init__(self, url: str, text: str | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._text = (text or script.source()).encode()
        self._sha = sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._idle: deque[ConnectionInterface] = deque()
        # The pool only creates connections. Taking one from it takes longer than the store's answer, so idle
        # connections are kept here instead.
        self._factory = ConnectionPool.from_url(url)
        # These decide even if the URL says otherwise: no request waits longer, or twice.
        self._factory.connection_kwargs |= {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "opsconsole-limiter",
            "decode_responses": False,
        }

    def ask(
        self, counted: Sequence[PolicyAndKey], cost: int, generation: int = 0, owed: Sequence[Owed] = ()
    ) -> Answer:
        """Run the script. ``owed``: for each policy, what the store does not know. A cost of 0 only tells it.

        If ``generation`` is not the store's, nothing is counted, and the answer has only the store's generation.
        """
        arguments: list[Any] = [len(counted) + 1, *(key for _, key in counted), GENERATION, cost, generation]
        for (policy, _), unknown in zip(counted, owed or [NOTHING] * len(counted), strict=True):
            refuses = "1" if policy.mode == ENFORCE else "0"
            arguments += (policy.algorithm, policy.limit, policy.window, refuses, *unknown)
        try:
            numbers = self._send(b"EVALSHA", self._sha, arguments)
        except NoScriptError:
            numbers = self._send(b"EVAL", self._text, arguments)
        return Answer(numbers[0], numbers[1:])

    def delete(self, keys: Sequence[str]) -> None:
        """Forget what is counted under these keys. One at a time: on a cluster they may be on several nodes."""
        for key in keys:
            self._send(b"DEL", key.encode(), [])

    def probe(self) -> None:
        """Count a request under a key of our own, as for a client. This needs all that the limiter needs, such as writing."""
        self.ask([(PROBE, f"{PREFIX}{PROBE.name}")], 1)

    def eviction(self) -> str:
        """Return the ``maxmemory-policy`` of a store that evicts keys; '' for any other and while it does not answer."""
        try:
            policy = self.maxmemory_policy()
        except RedisError:
            return ""
        return "" if policy == "noeviction" else policy

    def maxmemory_policy(self) -> str:
        """Return what the store does when its memory is full, or '' if it does not say."""
        [information] = self._exchange_alone(("INFO", "memory"))
        return _as_lines(information).get("maxmemory_policy", "")

    def facts(self) -> StoreFacts:
        """Return what decides whether counts are kept, and the store's time."""
        information, now = self._exchange_alone(("INFO",), ("TIME",))
        lines = _as_lines(information)
        kept = lines.get("aof_enabled") == "1" or lines.get("connected_slaves", "0") != "0"
        seconds, microseconds = now
        return StoreFacts(
            eviction=lines.get("maxmemory_policy", ""),
            keeps=kept or self._saves(),
            time=datetime.fromtimestamp(int(seconds) + int(microseconds) / 1_000_000, UTC),
        )

    def _saves(self) -> bool | None:
        """Tell whether the store writes snapshots; None if it does not say, as many hosted ones."""
        try:
            [answer] = self._exchange_alone(("CONFIG", "GET", "save"))
        except ResponseError:
            return None
        # A list, or with RESP3 a mapping.
        values = list(answer.values()) if isinstance(answer, dict) else answer[1:]
        return bool(values and values[0])

    def _exchange_alone(self, *commands: tuple[str, ...]) -> list[Any]:
        """Send commands on a connection of their own."""
        connection = self._factory.make_connection()
        answers: list[Any] = []
        try:
            for command in commands:
                connection.send_command(*command)  # type: ignore[no-untyped-call]  # redis-py's
                answers.append(connection.read_response())
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
        return answers

    def _send(self, command: bytes, first: bytes, rest: Sequence[Any]) -> list[int]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._exchange(self._factory.make_connection(), command, first, rest)
        try:
            return self._exchange(connection, command, first, rest)
        except StoreConnectionError:
            # The store closed an idle connection, perhaps because it restarted. The other idle connections are no
            # better, but a new one may work. If the store had counted the request already, it now counts twice,
            # which errs on the strict side.
            self._idle.clear()
            return self._exchange(self._factory.make_connection(), command, first, rest)

    def _exchange(
        self, connection: ConnectionInterface, command: bytes, first: bytes, rest: Sequence[Any]
    ) -> list[int]:
        packed = connection.pack_command(command, first, *rest)  # type: ignore[no-untyped-call]  # redis-py's
        try:
            connection.send_packed_command(packed, check_health=False)  # type: ignore[no-untyped-call]  # redis-py's
            answer: list[int] = connection.read_response()
        except NoScriptError:
            self._idle.append(connection)
            raise
        except RedisError:
            connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py's
            raise
        self._idle.append(connection)
        return answer


def _as_lines(information: bytes) -> dict[str, str]:
    """Return the lines of INFO by their names."""
    lines = bytes(information).decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
