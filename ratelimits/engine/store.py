"""The engine: decides whether a request is within its limits. No other module knows the store.

One round trip asks the store about all policies of a request. A client that is known to be blocked is refused without
asking the store. While the store is unavailable, each process counts on its own, within its share of the limit, and
says so in its decisions.
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
from redis.backoff import NoBackoff
from redis.connection import ConnectionInterface, ConnectionPool
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ratelimits.engine import script
from ratelimits.engine.blocked_clients import BlockedClients
from ratelimits.engine.breaker import Breaker
from ratelimits.engine.decision import Decision
from ratelimits.engine.local_counter import LocalWindows
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import ENFORCE, OFF, PolicySnapshot

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.1
MICROSECONDS = 1_000_000
PREFIX = "rl:"
# A policy, and the key under which the store counts the client.
PolicyAndKey = tuple[PolicySnapshot, str]


def check(policy: PolicySnapshot | str, identity: str, *, cost: int = 1) -> Decision:
    """Count ``cost`` requests of ``identity`` under a policy, unless they exceed the limit.

    ``policy`` may be the name of a policy. An unknown name raises ``UnknownPolicy``.
    """
    snapshot = policy_cache.current().get(policy) if isinstance(policy, str) else policy
    return _engine.check_all([snapshot], [identity], cost=cost)[0]


def check_all(
    policies: Sequence[PolicySnapshot], identities: Sequence[str], *, cost: int = 1
) -> list[Decision]:
    """Check one request under several policies. See ``Engine.check_all``."""
    return _engine.check_all(policies, identities, cost=cost)


def degraded() -> str:
    """Return why the shared store is not in use, or an empty string if it is."""
    return _engine.degraded


def probe() -> None:
    """Try the store again if it was unavailable and the pause is over."""
    _engine.probe()


def local_limit(limit: int, processes: int) -> int:
    """Return how many requests each process admits while the store is unavailable: its share, but at least one."""
    return max(1, limit // processes)


class Engine:
    """The decisions of one process. Without a ``store``, it always counts on its own."""

    def __init__(
        self, store: Store | None, *, processes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self.processes = processes
        self.clock = clock
        self.breaker = Breaker(clock)
        self.blocked = BlockedClients(clock)
        self.local = LocalWindows(clock)

    @property
    def degraded(self) -> str:
        return self.breaker.error

    def check_all(
        self, policies: Sequence[PolicySnapshot], identities: Sequence[str], *, cost: int = 1
    ) -> list[Decision]:
        """Check one request under several policies, with one identity for each.

        Either all policies count the request or, if one of them refuses it, none does. A policy in shadow mode counts
        like the others but refuses nothing; a policy that is off does neither. The decisions are in the order of
        ``policies``. If the client is known to be blocked, only the policies that block it are returned.
        """
        if cost < 1:
            raise ValueError(f"The cost of a request must be at least 1, not {cost}.")
        counted = [
            (policy, f"{PREFIX}{policy.name}:{identity}")
            for policy, identity in zip(policies, identities, strict=True)
            if policy.mode != OFF
        ]
        decisions = self._decide(counted, cost) if counted else []
        if len(counted) < len(policies):
            decisions += [_unlimited(policy) for policy in policies if policy.mode == OFF]
            decisions.sort(key=lambda decision: policies.index(decision.snapshot))
        return decisions

    def _decide(self, counted: Sequence[PolicyAndKey], cost: int) -> list[Decision]:
        if refusals := self._known_to_be_blocked(counted):
            return refusals
        if self.store is None:
            return [
                self._count_locally(policy, key, cost, policy.limit, degraded=False)
                for policy, key in counted
            ]
        if self.breaker.allows_attempt():
            asked_at = self.clock()
            try:
                numbers = self.store.ask(counted, cost)
            except RedisError as error:
                self._note_failure(error)
            else:
                self._note_success()
                return self._decisions_of_store(counted, numbers, cost, asked_at)
        return [self._decide_without_store(policy, key, cost) for policy, key in counted]

    def probe(self) -> None:
        """Try the store again if it was unavailable and the pause is over."""
        if self.store is None or not self.breaker.error or not self.breaker.allows_attempt():
            return
        try:
            self.store.ping()
        except RedisError as error:
            self._note_failure(error)
        else:
            self._note_success()

    def _known_to_be_blocked(self, counted: Sequence[PolicyAndKey]) -> list[Decision]:
        return [
            Decision(policy, allowed=False, exceeded=True, remaining=0, reset_after=seconds)
            for policy, key in counted
            if policy.mode == ENFORCE and (seconds := self.blocked.seconds_left(key, policy))
        ]

    def _decisions_of_store(
        self, counted: Sequence[PolicyAndKey], numbers: Sequence[int], cost: int, asked_at: float
    ) -> list[Decision]:
        decisions = []
        for index, (policy, key) in enumerate(counted):
            fits, used, microseconds = numbers[3 * index : 3 * index + 3]
            seconds = microseconds / MICROSECONDS
            decisions.append(
                Decision(
                    policy,
                    allowed=bool(fits) or policy.mode != ENFORCE,
                    exceeded=not fits,
                    remaining=max(0, policy.limit - used),
                    reset_after=seconds,
                )
            )
            # A request with a higher cost may be refused while one with a cost of 1 would fit.
            if not fits and cost == 1 and policy.mode == ENFORCE:
                self.blocked.add(key, policy, asked_at + seconds)
        return decisions

    def _decide_without_store(self, policy: PolicySnapshot, key: str, cost: int) -> Decision:
        """Decide as the policy says for an outage of the store. Shadow mode refuses nothing."""
        if policy.away == "open":
            return _unlimited(policy, degraded=True)
        if policy.away == "closed":
            return Decision(
                policy,
                allowed=policy.mode != ENFORCE,
                exceeded=True,
                remaining=0,
                reset_after=self.breaker.seconds_until_retry,
                degraded=True,
            )
        return self._count_locally(
            policy, key, cost, local_limit(policy.limit, self.processes), degraded=True
        )

    def _count_locally(
        self, policy: PolicySnapshot, key: str, cost: int, limit: int, *, degraded: bool
    ) -> Decision:
        count = self.local.count(key, limit, policy.window, cost)
        return Decision(
            policy,
            allowed=count.fits or policy.mode != ENFORCE,
            exceeded=not count.fits,
            remaining=max(0, limit - count.used),
            reset_after=count.free,
            degraded=degraded,
        )

    def _note_failure(self, error: RedisError) -> None:
        if self.breaker.record_failure(f"{type(error).__name__}: {error}"):
            log.error(
                "The rate limit store does not answer. Until it does, each process counts on its own: %s",
                error,
            )

    def _note_success(self) -> None:
        if self.breaker.record_success():
            log.warning("The rate limit store answers again. Processes share their limits again.")


def _unlimited(policy: PolicySnapshot, *, degraded: bool = False) -> Decision:
    return Decision(
        policy, allowed=True, exceeded=False, remaining=policy.limit, reset_after=0, degraded=degraded
    )


class Store:
    """Reusable connections to the store, and the script that it runs. Every failure is a ``RedisError``."""

    def __init__(self, url: str, text: str | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._text = (text or script.source()).encode()
        self._sha = sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._idle: deque[ConnectionInterface] = deque()
        # The pool only creates connections. Taking one from it takes longer than the store's answer, so idle
        # connections are kept here instead.
        self._factory = ConnectionPool.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            client_name="opsconsole-limiter",
        )

    def ask(self, counted: Sequence[PolicyAndKey], cost: int) -> list[int]:
        """Run the script. Return three numbers for each policy (see ``ratelimits.engine.script``)."""
        arguments: list[Any] = [len(counted), *(key for _, key in counted), cost]
        for policy, _ in counted:
            refuses = "1" if policy.mode == ENFORCE else "0"
            arguments += (policy.algorithm, policy.limit, policy.window, refuses)
        try:
            return self._send(b"EVALSHA", self._sha, arguments)
        except NoScriptError:
            return self._send(b"EVAL", self._text, arguments)

    def ping(self) -> None:
        """Run the script without any policy."""
        self.ask([], 1)

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


def reset() -> None:
    """Drop connections, blocked clients and local counts, and read the store's address again."""
    global _engine  # noqa: PLW0603 - one per process
    url = settings.OPSCONSOLE_RATE_LIMIT_STORE
    _engine = Engine(Store(url) if url else None, processes=settings.OPSCONSOLE_WEB_PROCESSES)


_engine: Engine
reset()
# Two processes must not share a connection.
os.register_at_fork(after_in_child=reset)
