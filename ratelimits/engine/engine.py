"""The decisions of one process about requests, by its store or on its own.

One round trip asks the store about all policies of a request; on a cluster, one per shard, side by side. A client that is
known to be blocked is refused without asking the store. While the store is unavailable, each process counts on its own,
within its share of what was left of the limit, and says so in its decisions. A store that returns, or that has lost its
data, first learns what each process has admitted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError, ResponseError

from ratelimits.engine import decision_metrics, forgotten_counts
from ratelimits.engine.admissions import Admissions
from ratelimits.engine.blocked_clients import BlockedClients
from ratelimits.engine.breaker import Breaker
from ratelimits.engine.decision import Decision, closed, counted_locally, unlimited
from ratelimits.engine.local_counter import LocalWindows, local_limit
from ratelimits.engine.questions import PREFIX, AnyStore, PolicyAndKey, SlotMoves, Standing
from ratelimits.engine.told_store import ToldStore
from ratelimits.policies.policy_snapshot import ENFORCE, OFF, PolicySnapshot

log = logging.getLogger(__name__)
MICROSECONDS = 1_000_000
LOG_REFUSALS_EVERY_SECONDS = 60.0


class Engine:
    """The decisions of one process. Without a ``store``, it always counts on its own."""

    def __init__(
        self, store: AnyStore | None, *, processes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self.processes = processes
        self.clock = clock
        self.breaker = Breaker(clock)
        self.blocked = BlockedClients(clock)
        self.local = LocalWindows(clock)
        self.admissions = Admissions(clock)
        self.told = ToldStore(self.admissions, self.breaker)
        self._log_refusals_at = 0.0

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
        decisions = decision_metrics.counted(self._decide, counted, cost) if counted else []
        if len(counted) < len(policies):
            decisions += [unlimited(policy) for policy in policies if policy.mode == OFF]
            decisions.sort(key=lambda decision: policies.index(decision.snapshot))
        return decisions

    def remaining(self, policy: PolicySnapshot, identity: str) -> int | None:
        """Return how much of its limit a client has left, without counting."""
        if policy.mode == OFF:
            return policy.limit
        if self.store is None or self.breaker.error:
            return None
        try:
            [standing] = self.told.ask(self.store, [(policy, f"{PREFIX}{policy.name}:{identity}")], 0)
        except RedisError as error:
            # The next request that counts finds out what is wrong, and reports it.
            log.info("The rate limit store did not say how much a client has left: %s", error)
            return None
        return max(0, policy.limit - standing.used)

    def _decide(self, counted: Sequence[PolicyAndKey], cost: int) -> list[Decision]:
        if refusals := self._known_to_be_blocked(counted):
            return refusals
        if self.store is not None and self._store_works():
            asked_at = self.clock()
            try:
                standings = self.told.ask(self.store, counted, cost)
            except SlotMoves as error:
                log.info("A cluster is moving a client, who is counted locally meanwhile: %s", error)
            except ResponseError as error:
                # The store answers, but not to this. Others must not suffer for what is wrong with one client's key.
                self._note_refusal(error)
            except RedisError as error:
                self._note_failure(error)
            else:
                return self._decisions_of_store(counted, standings, cost, asked_at)
        return self._decide_alone(counted, cost)

    def free(self, policies: Sequence[PolicySnapshot], identity: str) -> list[int]:
        """Forget a client's counts in the store and in this process. Raise ``StoreAway`` where others count for themselves."""
        if self.store is None and self.processes > 1:
            raise forgotten_counts.StoreAway(forgotten_counts.ALONE)
        counted = [(policy, f"{PREFIX}{policy.name}:{identity}") for policy in policies]
        return forgotten_counts.forget(self.store, (self.admissions, self.local, self.blocked), counted)

    def tell(self) -> None:
        """Tell the store what it has lost or missed about clients that make no requests to this process now."""
        if self.store is None or self.breaker.error:
            return
        try:
            self.told.tell_all(self.store, self._note_refusal)
        except RedisError as error:
            self._note_failure(error)

    def _store_works(self) -> bool:
        """Tell whether the store works as far as is known. During an outage, one request tries it after each pause."""
        if self.breaker.error:
            self.probe()
        return not self.breaker.error

    def probe(self) -> None:
        """Try the store again if it was unavailable and the pause is over."""
        due = bool(self.breaker.error) and self.breaker.allows_attempt()
        if self.store is not None and due and self._passes_probe(self.store):
            self._note_success()

    def _passes_probe(self, store: AnyStore) -> bool:
        try:
            store.probe()
        except RedisError as error:
            self._note_failure(error)
            return False
        return True

    def _note_refusal(self, error: ResponseError) -> bool:
        """Return True if the store works otherwise, so that only something about the keys of this request is wrong."""
        if self.store is None or not self._passes_probe(self.store):
            return False
        if self.clock() >= self._log_refusals_at:
            self._log_refusals_at = self.clock() + LOG_REFUSALS_EVERY_SECONDS
            log.warning(
                "The rate limit store refuses the requests of a client, who is counted locally: %s", error
            )
        return True

    def _known_to_be_blocked(self, counted: Sequence[PolicyAndKey]) -> list[Decision]:
        return [
            Decision(policy, allowed=False, exceeded=True, remaining=0, reset_after=seconds)
            for policy, key in counted
            if policy.mode == ENFORCE and (seconds := self.blocked.seconds_left(key, policy))
        ]

    def _decisions_of_store(
        self, counted: Sequence[PolicyAndKey], standings: Sequence[Standing], cost: int, asked_at: float
    ) -> list[Decision]:
        decisions = []
        for (policy, key), (fits, used, microseconds, at, generation) in zip(counted, standings, strict=True):
            self.admissions.learn(key, policy, used, at, generation)
            seconds = microseconds / MICROSECONDS
            decisions.append(
                Decision(
                    policy,
                    allowed=fits or policy.mode != ENFORCE,
                    exceeded=not fits,
                    remaining=max(0, policy.limit - used),
                    reset_after=seconds,
                )
            )
            # A request with a higher cost may be refused while one with a cost of 1 would fit.
            if not fits and cost == 1 and policy.mode == ENFORCE:
                self.blocked.add(key, policy, asked_at + seconds)
        return decisions

    def _decide_alone(self, counted: Sequence[PolicyAndKey], cost: int) -> list[Decision]:
        """Decide within this process, up to the first policy that refuses the request; then none counts it."""
        decisions: list[Decision] = []
        counting: list[PolicyAndKey] = []
        for policy, key in counted:
            if self.store is None:
                decision = self._count_locally(policy, key, cost, policy.limit, degraded=False)
            else:
                decision = self._decide_without_store(policy, key, cost)
            decisions.append(decision)
            if not decision.allowed:
                for _, earlier in counting:
                    self.local.take_back(earlier, cost)
                return decisions
            if not decision.exceeded and (self.store is None or policy.away != "open"):
                counting.append((policy, key))
        if self.store is not None:
            for policy, key in counting:
                self.admissions.add(key, policy, cost)
        return decisions

    def _decide_without_store(self, policy: PolicySnapshot, key: str, cost: int) -> Decision:
        """Decide as the policy says for an outage of the store. Shadow mode refuses nothing."""
        if policy.away == "open":
            return unlimited(policy, degraded=True)
        if policy.away == "closed":
            return closed(policy, self.breaker.seconds_until_retry)
        return self._count_locally(policy, key, cost, self._share(policy, key), degraded=True)

    def _share(self, policy: PolicySnapshot, key: str) -> int:
        """Return how many requests this process admits: its share of the limit, or of what was left of it a moment ago."""
        left = self.admissions.left(key, policy)
        return local_limit(policy.limit if left is None else left, self.processes) if left != 0 else 0

    def _count_locally(
        self, policy: PolicySnapshot, key: str, cost: int, limit: int, *, degraded: bool
    ) -> Decision:
        count = self.local.count(key, limit, policy.window, cost)
        return counted_locally(policy, count, limit, degraded=degraded)

    def _note_failure(self, error: RedisError) -> None:
        if self.breaker.record_failure(f"{type(error).__name__}: {error}"):
            log.error(
                "The rate limit store does not answer. Until it does, each process counts on its own: %s",
                error,
            )

    def _note_success(self) -> None:
        if self.breaker.record_success():
            log.warning("The rate limit store answers again. Processes share their limits again.")
