"""Invariant I11 with several processes and hosts, edits, and outages of the store, in simulated time."""

from __future__ import annotations

import uuid
from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from redis.exceptions import TimeoutError as StoreTimeoutError

from ratelimits.engine.admissions import NOTHING
from ratelimits.engine.decision import Decision
from ratelimits.engine.engine import Engine
from ratelimits.engine.local_counter import local_limit
from ratelimits.engine.questions import Answer, Question
from ratelimits.engine.store_client import WHOLE, Store
from ratelimits.policies.policy_snapshot import PolicySnapshot
from tests.ratelimits.engine.simulated_store import SECOND, Clock, simulated_store
from tests.ratelimits.engine.test_script import Model

PROCESSES = 3
WINDOWS = [30, 60, 600]
HOUR = 3_600


class FailingStore(Store):
    """The store as one process reaches it. While ``away`` is true, it does not answer."""

    def __init__(self, real: Store) -> None:
        self.real = real
        self.away = False

    def _ask(self, question: Question) -> Answer:
        if self.away:
            raise StoreTimeoutError("it does not answer")
        return self.real._ask(question)


class OneClient(RuleBasedStateMachine):
    """Requests of one client to three processes, on hosts with different clocks, under a policy that is edited."""

    @initialize(limit=st.integers(1, 6), window=st.sampled_from(WINDOWS))
    def begin(self, limit: int, window: int) -> None:
        self.clock = Clock()
        self.client = uuid.uuid4().hex
        self.stores = [FailingStore(simulated_store()) for _ in range(PROCESSES)]
        self.engines = [
            Engine(store, processes=PROCESSES, clock=self._host(number))
            for number, store in enumerate(self.stores)
        ]
        self.latest = PolicySnapshot(name="stateful", limit=limit, window=window)
        # The policy that each process has read. An edit reaches the processes one after the other.
        self.known = [self.latest] * PROCESSES
        self.shared = Model()
        # Until this time, a process may remember a wait that requests under another version have made longer.
        self.mixed_until = 0
        self.local: list[deque[int]] = [deque() for _ in range(PROCESSES)]
        # Admissions during outages that the store has not been told of.
        self.untold: list[list[int]] = [[] for _ in range(PROCESSES)]

    def _host(self, number: int) -> Any:
        return lambda: self.clock.monotonic() + number * HOUR

    @rule(
        number=st.integers(0, PROCESSES - 1),
        pause=st.one_of(st.integers(0, 5 * SECOND), st.sampled_from([0, 0, 30 * SECOND, 61 * SECOND])),
        burst=st.integers(1, 4),
    )
    def request(self, number: int, pause: int, burst: int) -> None:
        self.clock.pass_(pause)
        for _ in range(burst):
            self._request(number)

    def _request(self, number: int) -> Decision:
        engine, key = self.engines[number], f"rl:stateful:{self.client}"
        owed = engine.admissions.owed(key, engine.told.generations.get(WHOLE, 0))
        recent = self.clock.now - min(WINDOWS) * SECOND
        assert owed.at_least == 0
        assert owed.more >= sum(at >= recent for at in self.untold[number])
        [decision] = engine.check_all([self.known[number]], [self.client])
        if (
            not decision.degraded
            and engine.admissions.owed(key, engine.told.generations.get(WHOLE, 0)) == NOTHING
        ):
            # The store counts what it is told as if it were admitted now.
            limit = self.known[number].limit
            if owed.more:
                self.shared = Model(deque([*([self.clock.now] * owed.more), *self.shared.kept][:limit]))
            self.untold[number] = []
        self._judge(number, decision)
        return decision

    @rule(number=st.integers(0, PROCESSES - 1))
    def wait_and_retry(self, number: int) -> None:
        """Wait as long as told. The request is then allowed, if nothing else happened in the meantime."""
        decision = self._request(number)
        if decision.allowed or decision.degraded or self.clock.now < self.mixed_until:
            return
        self.clock.pass_(decision.retry_after * SECOND)
        retry = self._request(number)
        assert retry.allowed or retry.degraded

    @rule(limit=st.integers(1, 6), window=st.sampled_from(WINDOWS))
    def edit(self, limit: int, window: int) -> None:
        self.latest = PolicySnapshot(name="stateful", limit=limit, window=window)

    @rule(number=st.integers(0, PROCESSES - 1))
    def notice_edit(self, number: int) -> None:
        self.known[number] = self.latest

    @rule(number=st.integers(0, PROCESSES - 1), away=st.booleans())
    def change_availability_of_the_store(self, number: int, away: bool) -> None:
        self.stores[number].away = away

    def _judge(self, number: int, decision: Decision) -> None:
        policy, now = self.known[number], self.clock.now
        if not decision.degraded:
            model = Model(deque(self.shared.kept))
            fits, used, free = model.ask(now, policy.limit, policy.window, 1)
            if decision.allowed:
                # A refusal by a process that remembers a blocked client is not counted by the store.
                self.shared = model
            mixed = len(set(self.known)) > 1 or now < self.mixed_until
            # While an edit has not reached all processes, a remembered block may refuse too much, but never too little.
            assert decision.allowed == fits or (mixed and not decision.allowed)
            assert decision.remaining == max(0, policy.limit - used) or mixed
            if decision.allowed and len(set(self.known)) > 1:
                self.mixed_until = now + max(WINDOWS) * SECOND + 1
            reset_after = decision.reset_after * SECOND
            assert reset_after < free + 1
            assert reset_after > free - 1 or now < self.mixed_until
        elif decision.allowed:
            # During an outage, each process admits at most its share.
            times = self.local[number]
            share = local_limit(policy.limit, PROCESSES)
            assert sum(at >= now - policy.window * SECOND for at in times) < share
            times.append(now)
            self.untold[number].append(now)


def test_limiter_never_admits_more_than_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="ratelimits.engine.engine")
    run_state_machine_as_test(
        OneClient,
        settings=settings(max_examples=150, derandomize=True, stateful_step_count=40, deadline=None),
    )
