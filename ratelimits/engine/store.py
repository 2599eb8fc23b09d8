"""Decides whether a request is within its limits. The only module that knows the store.

One round trip asks the store about all policies of a request. A client that is known to be blocked is refused
without it. When the store is away, each process counts for itself within its share of the limit, and says so.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface, ConnectionPool
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ratelimits.engine import script
from ratelimits.engine.blocked_clients import Blocked
from ratelimits.engine.breaker import Breaker
from ratelimits.engine.decision import Decision
from ratelimits.engine.local_counter import LocalWindows
from ratelimits.policies import in_force
from ratelimits.policies.policy_snapshot import ENFORCE, OFF, Terms

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.1
MICROSECONDS = 1_000_000
PREFIX = "rl:"
# A policy, and the key under which the store counts the client.
Asked = tuple[Terms, str]


def check(policy: Terms | str, identity: str, *, cost: int = 1) -> Decision:
    """Count ``cost`` requests of ``identity`` under a policy, unless they are too much.

    ``policy`` may be a policy's name: another raises ``UnknownPolicy``.
    """
    terms = in_force.current().get(policy) if isinstance(policy, str) else policy
    return _engine.check_all([terms], [identity], cost=cost)[0]


def check_all(stack: Sequence[Terms], identities: Sequence[str], *, cost: int = 1) -> list[Decision]:
    """One request under several policies: see ``Engine.check_all``."""
    return _engine.check_all(stack, identities, cost=cost)


def degraded() -> str:
    """Why the shared store is not used at present; empty when it is."""
    return _engine.degraded


def probe() -> None:
    """When the store was away and it is time to try it again: try it."""
    _engine.probe()


def local_limit(limit: int, processes: int) -> int:
    """What each process admits while the store is away: its share, and at least one."""
    return max(1, limit // processes)


class Engine:
    """A process's way to the store, and what it does without. ``store`` None: it counts for itself always."""

    def __init__(
        self, store: Store | None, *, processes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self.processes = processes
        self.clock = clock
        self.breaker = Breaker(clock)
        self.blocked = Blocked(clock)
        self.local = LocalWindows(clock)

    @property
    def degraded(self) -> str:
        return self.breaker.why

    def check_all(
        self, stack: Sequence[Terms], identities: Sequence[str], *, cost: int = 1
    ) -> list[Decision]:
        """One request under several policies, an identity for each: counted by all or, refused by one, by none.

        A policy in shadow mode counts like the others and refuses nothing; one that is off does neither. The
        decisions are in the order of ``stack``; when a client is known to be blocked, those that block it answer alone.
        """
        if cost < 1:
            raise ValueError(f"A request costs at least 1, not {cost}.")
        asked = [
            (terms, f"{PREFIX}{terms.name}:{identity}")
            for terms, identity in zip(stack, identities, strict=True)
            if terms.mode != OFF
        ]
        decisions = self._decide(asked, cost) if asked else []
        if len(asked) < len(stack):
            decisions += [_unlimited(terms) for terms in stack if terms.mode == OFF]
            decisions.sort(key=lambda decision: stack.index(decision.terms))
        return decisions

    def _decide(self, asked: Sequence[Asked], cost: int) -> list[Decision]:
        if refused := self._known_to_be_blocked(asked):
            return refused
        if self.store is None:
            return [self._counted_here(terms, key, cost, terms.limit, degraded=False) for terms, key in asked]
        if self.breaker.admits():
            before = self.clock()
            try:
                answer = self.store.ask(asked, cost)
            except RedisError as error:
                self._note_failure(error)
            else:
                self._note_success()
                return self._answered(asked, answer, cost, before)
        return [self._without_store(terms, key, cost) for terms, key in asked]

    def probe(self) -> None:
        """Try a store that was away, when it is time to."""
        if self.store is None or not self.breaker.why or not self.breaker.admits():
            return
        try:
            self.store.ping()
        except RedisError as error:
            self._note_failure(error)
        else:
            self._note_success()

    def _known_to_be_blocked(self, asked: Sequence[Asked]) -> list[Decision]:
        return [
            Decision(terms, allowed=False, exceeded=True, remaining=0, reset_after=seconds)
            for terms, key in asked
            if terms.mode == ENFORCE and (seconds := self.blocked.seconds(key, terms))
        ]

    def _answered(
        self, asked: Sequence[Asked], answer: Sequence[int], cost: int, before: float
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
                self.blocked.add(key, terms, before + seconds)
        return decisions

    def _without_store(self, terms: Terms, key: str, cost: int) -> Decision:
        """As the policy says for this case. In shadow mode nothing is refused."""
        if terms.away == "open":
            return _unlimited(terms, degraded=True)
        if terms.away == "closed":
            return Decision(
                terms,
                allowed=terms.mode != ENFORCE,
                exceeded=True,
                remaining=0,
                reset_after=self.breaker.pause,
                degraded=True,
            )
        return self._counted_here(terms, key, cost, local_limit(terms.limit, self.processes), degraded=True)

    def _counted_here(self, terms: Terms, key: str, cost: int, limit: int, *, degraded: bool) -> Decision:
        asked = self.local.ask(key, limit, terms.window, cost)
        return Decision(
            terms,
            allowed=asked.fits or terms.mode != ENFORCE,
            exceeded=not asked.fits,
            remaining=max(0, limit - asked.used),
            reset_after=asked.free,
            degraded=degraded,
        )

    def _note_failure(self, error: RedisError) -> None:
        if self.breaker.failed(f"{type(error).__name__}: {error}"):
            log.error(
                "The rate limit store does not answer, each process counts for itself until it does: %s",
                error,
            )

    def _note_success(self) -> None:
        if self.breaker.succeeded():
            log.warning("The rate limit store answers again: limits are shared again.")


def _unlimited(terms: Terms, *, degraded: bool = False) -> Decision:
    return Decision(
        terms, allowed=True, exceeded=False, remaining=terms.limit, reset_after=0, degraded=degraded
    )


class Store:
    """Connections that are used again, and the one script. Any failure is a ``RedisError``."""

    def __init__(self, url: str, text: str | None = None) -> None:
        self._text = (text or script.source()).encode()
        self._sha = sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._idle: deque[ConnectionInterface] = deque()
        # It makes the connections. Taking one from it costs more than the store's answer, so they are kept here.
        self._factory = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            client_name="opsconsole-limiter",
        )

    def ask(self, asked: Sequence[Asked], cost: int) -> list[int]:
        """The script's answer: three numbers for each policy (``ratelimits.engine.script``)."""
        rest: list[Any] = [len(asked), *(key for _, key in asked), cost]
        for terms, _ in asked:
            rest += (terms.algorithm, terms.limit, terms.window, "1" if terms.mode == ENFORCE else "0")
        try:
            return self._send(b"EVALSHA", self._sha, rest)
        except NoScriptError:
            return self._send(b"EVAL", self._text, rest)

    def ping(self) -> None:
        """Ask it for nothing: an empty stack of policies."""
        self.ask([], 1)

    def clear(self) -> None:
        """Delete all counts."""
        with Redis(connection_pool=self._factory) as client:
            if keys := list(client.scan_iter(f"{PREFIX}*", count=1_000)):
                client.unlink(*keys)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().disconnect()  # type: ignore[no-untyped-call]

    def _send(self, command: bytes, first: bytes, rest: Sequence[Any]) -> list[int]:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._exchange(self._factory.make_connection(), command, first, rest)
        try:
            return self._exchange(connection, command, first, rest)
        except StoreConnectionError:
            # The store closed what was idle, restarted perhaps: the others are no better, a new one may be. If it had
            # counted already, the request counts twice: too much is counted, never too little.
            self._idle.clear()
            return self._exchange(self._factory.make_connection(), command, first, rest)

    def _exchange(
        self, connection: ConnectionInterface, command: bytes, first: bytes, rest: Sequence[Any]
    ) -> list[int]:
        packed = connection.pack_command(command, first, *rest)  # type: ignore[no-untyped-call]
        try:
            connection.send_packed_command(packed, check_health=False)  # type: ignore[no-untyped-call]
            answer: list[int] = connection.read_response()
        except NoScriptError:
            self._idle.append(connection)
            raise
        except RedisError:
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise
        self._idle.append(connection)
        return answer


def reset() -> None:
    """Forget connections, blocked clients and local counts, and read the store's address anew."""
    global _engine  # noqa: PLW0603 - one a process
    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    _engine = Engine(Store(url) if url else None, processes=settings.OPSCONSOLE_WEB_PROCESSES)


def forget_counts() -> None:
    """Forget what every client did so far, in the store and in this process."""
    reset()
    if _engine.store:
        _engine.store.clear()


_engine: Engine
reset()
# Two processes must not talk through one connection.
os.register_at_fork(after_in_child=reset)
