"""Decides whether a request is within its limits. The only module that knows the store.

One round trip asks the store about all policies of a request. A client that is known to be blocked is refused
without it. When the store is away, each process counts for itself within its share of the limit, and says so.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface, ConnectionPool
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as StoreTimeoutError
from redis.retry import Retry

from ratelimits import policies, script
from ratelimits.blocked import Blocked
from ratelimits.breaker import Breaker
from ratelimits.decision import Decision
from ratelimits.local import LocalWindows
from ratelimits.terms import ENFORCE, OFF, Terms

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.1
MICROSECONDS = 1_000_000
PREFIX = "rl:"


def check(policy: Terms | str, identity: str, *, cost: int = 1) -> Decision:
    """Count ``cost`` requests of ``identity`` under a policy, unless they are too much.

    ``policy`` may be a policy's name: another raises ``UnknownPolicy``.
    """
    terms = policies.current().get(policy) if isinstance(policy, str) else policy
    return check_all([terms], [identity], cost=cost)[0]


def check_all(stack: Sequence[Terms], identities: Sequence[str], *, cost: int = 1) -> list[Decision]:
    """One request under several policies, the identity for each. It is counted by all of them or, refused by one, by none.

    A policy in shadow mode counts like the others and refuses nothing; one that is off does neither. The decisions
    are in the order of ``stack``; when a client is known to be blocked by one, the others have none.
    """
    if cost < 1:
        raise ValueError(f"A request costs at least 1, not {cost}.")
    asked = [
        (terms, f"{PREFIX}{terms.name}:{identity}")
        for terms, identity in zip(stack, identities, strict=True)
        if terms.mode != OFF
    ]
    decisions = _decide(asked, cost) if asked else []
    if len(asked) < len(stack):
        decisions += [_unlimited(terms) for terms in stack if terms.mode == OFF]
        decisions.sort(key=lambda decision: stack.index(decision.terms))
    return decisions


def _decide(asked: Sequence[tuple[Terms, str]], cost: int) -> list[Decision]:
    refused = [(terms, _blocked.seconds(key, terms)) for terms, key in asked if terms.mode == ENFORCE]
    if any(seconds for _, seconds in refused):
        return _refused_from_memory(asked, dict(refused))
    if _store is None:
        return [_counted_here(terms, key, cost, terms.limit, degraded=False) for terms, key in asked]
    if _store.breaker.admits():
        before = time.monotonic()
        try:
            answer = _store.ask(asked, cost)
        except RedisError as error:
            _note_failure(_store.breaker, error)
        else:
            _note_success(_store.breaker)
            return _answered(asked, answer, cost, before)
    return [_without_store(terms, key, cost) for terms, key in asked]


def _answered(
    asked: Sequence[tuple[Terms, str]], answer: Sequence[int], cost: int, before: float
) -> list[Decision]:
    decisions = []
    for number, (terms, key) in enumerate(asked):
        fits, used, microseconds = answer[3 * number : 3 * number + 3]
        seconds = microseconds / MICROSECONDS
        decisions.append(
            Decision(
                terms,
                allowed=bool(fits) or terms.mode != ENFORCE,
                exceeded=not fits,
                remaining=max(0, terms.limit - used),
                reset_after=seconds,
            )
        )
        # What is too much for several may fit for one.
        if not fits and cost == 1 and terms.mode == ENFORCE:
            _blocked.add(key, terms, before + seconds)
    return decisions


def _refused_from_memory(asked: Sequence[tuple[Terms, str]], seconds: dict[Terms, float]) -> list[Decision]:
    """At least one policy is known to refuse. The others are not asked: what they would say is not known."""
    return [
        Decision(terms, allowed=False, exceeded=True, remaining=0, reset_after=left)
        for terms, _ in asked
        if (left := seconds.get(terms, 0))
    ]


def _without_store(terms: Terms, key: str, cost: int) -> Decision:
    """As the policy says for this case. In shadow mode nothing is refused."""
    if terms.away == "open":
        return _unlimited(terms, degraded=True)
    if terms.away == "closed":
        return Decision(
            terms,
            allowed=terms.mode != ENFORCE,
            exceeded=True,
            remaining=0,
            reset_after=_store.breaker.pause if _store else 0,
            degraded=True,
        )
    return _counted_here(terms, key, cost, local_limit(terms.limit), degraded=True)


def _unlimited(terms: Terms, *, degraded: bool = False) -> Decision:
    return Decision(
        terms, allowed=True, exceeded=False, remaining=terms.limit, reset_after=0, degraded=degraded
    )


def _counted_here(terms: Terms, key: str, cost: int, limit: int, *, degraded: bool) -> Decision:
    asked = _local.ask(key, limit, terms.window, cost)
    return Decision(
        terms,
        allowed=asked.fits or terms.mode != ENFORCE,
        exceeded=not asked.fits,
        remaining=max(0, limit - asked.used),
        reset_after=asked.free,
        degraded=degraded,
    )


def local_limit(limit: int) -> int:
    """What each process admits while the store is away: its share, and at least one."""
    return max(1, limit // settings.OPSCONSOLE_WEB_PROCESSES)


class _Store:
    """Connections that are used again, and the one script. Any failure is a ``RedisError``."""

    def __init__(self, url: str) -> None:
        text = script.source()
        self.breaker = Breaker()
        self._text = text.encode()
        self._sha = sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._idle: deque[ConnectionInterface] = deque()
        # It makes the connections; keeping them takes it longer than the answer does.
        self._factory = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            client_name="opsconsole-limiter",
        )

    def ask(self, asked: Sequence[tuple[Terms, str]], cost: int) -> list[int]:
        rest: list[Any] = [len(asked), *(key for _, key in asked), cost]
        for terms, _ in asked:
            rest += (terms.algorithm, terms.limit, terms.window, "1" if terms.mode == ENFORCE else "0")
        try:
            return self._send(b"EVALSHA", self._sha, rest)
        except NoScriptError:
            return self._send(b"EVAL", self._text, rest)

    def clear(self) -> None:
        """Delete all counts."""
        with Redis(connection_pool=self._factory) as client:
            if keys := list(client.scan_iter(f"{PREFIX}*", count=1_000)):
                client.unlink(*keys)

    def _send(self, command: bytes, first: bytes, rest: Sequence[Any]) -> list[int]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._exchange(self._factory.make_connection(), command, first, rest)
        try:
            return self._exchange(connection, command, first, rest)
        except StoreTimeoutError:
            raise
        except StoreConnectionError:
            # The store closed what was idle, restarted perhaps: the others are no better, a new one may be.
            self._idle.clear()
            return self._exchange(self._factory.make_connection(), command, first, rest)

    def _exchange(
        self, connection: ConnectionInterface, command: bytes, first: bytes, rest: Sequence[Any]
    ) -> list[int]:
        packed = connection.pack_command(command, first, *rest)  # type: ignore[no-untyped-call]
        connection.send_packed_command(packed, check_health=False)  # type: ignore[no-untyped-call]
        try:
            answer: list[int] = connection.read_response()
        except NoScriptError:
            self._idle.append(connection)
            raise
        self._idle.append(connection)
        return answer


def _note_failure(breaker: Breaker, error: RedisError) -> None:
    if breaker.failed(f"{type(error).__name__}: {error}"):
        log.error(
            "The rate limit store does not answer, each process counts for itself until it does: %s", error
        )


def _note_success(breaker: Breaker) -> None:
    if breaker.succeeded():
        log.warning("The rate limit store answers again: limits are shared again.")


def degraded() -> str:
    """Why the shared store is not used at present; empty when it is."""
    return _store.breaker.why if _store else ""


def forget_counts() -> None:
    """Forget what every client did so far, in the store and here: for tests and emergencies."""
    _blocked.clear()
    if _store:
        _store.clear()


def reset() -> None:
    """Forget connections, blocked clients and local counts, and read the store's address anew."""
    global _store, _blocked, _local  # noqa: PLW0603 - one store a process
    _store = _Store(url) if (url := settings.OPSCONSOLE_RATE_LIMIT_STORE) else None
    _blocked = Blocked()
    _local = LocalWindows()


_store: _Store | None
_blocked: Blocked
_local: LocalWindows
reset()
# Two processes must not talk through one connection.
os.register_at_fork(after_in_child=reset)
