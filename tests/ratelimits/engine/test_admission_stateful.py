"""I11 as it is worded: several processes and hosts, edits while they run, outages of the store; simulated time."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from redis.exceptions import TimeoutError as StoreTimeoutError

from ratelimits.engine.decision import Decision
from ratelimits.engine.store import Engine, PolicyAndKey, Store, local_limit
from ratelimits.policies.policy_snapshot import PolicySnapshot
from tests.ratelimits.engine.simulated_store import SECOND, Clock, simulated
from tests.ratelimits.engine.test_script import Model

PROCESSES = 3
WINDOWS = [30, 60, 600]
HOUR = 3_600


class Failing(Store):
    """The store as one process reaches it: ``away`` while it does not."""

    def __init__(self, real: Store) -> None:
        self.real = real
        self.away = False

    def ask(self, asked: Sequence[PolicyAndKey], cost: int) -> list[int]:
        if self.away:
            raise StoreTimeoutError("it does not answer")
        return self.real.ask(asked, cost)


class OneClient(RuleBasedStateMachine):
    """A client's requests to three processes on hosts whose clocks differ, under one policy that is edited."""

    @initialize(limit=st.integers(1, 6), window=st.sampled_from(WINDOWS))
    def begin(self, limit: int, window: int) -> None:
        self.clock = Clock()
        self.client = uuid.uuid4().hex
        self.stores = [Failing(simulated()) for _ in range(PROCESSES)]
        self.engines = [
            Engine(store, processes=PROCESSES, clock=self._host(number))
            for number, store in enumerate(self.stores)
        ]
        self.newest = PolicySnapshot(name="promise", limit=limit, window=window)
        # What each process has read; an edit reaches them one after the other.
        self.known = [self.newest] * PROCESSES
        self.shared = Model()
        # Until then a process may remember a time that requests under another version have put off.
        self.mixed_until = 0
        self.local: list[deque[int]] = [deque() for _ in range(PROCESSES)]

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
            [decision] = self.engines[number].check_all([self.known[number]], [self.client])
            self._judge(number, decision)

    @rule(number=st.integers(0, PROCESSES - 1))
    def come_back_when_told(self, number: int) -> None:
        """Whoever waits as it was told passes, if nobody else came and nothing was edited meanwhile."""
        terms = self.known[number]
        [decision] = self.engines[number].check_all([terms], [self.client])
        self._judge(number, decision)
        if decision.allowed or decision.degraded or self.clock.now < self.mixed_until:
            return
        self.clock.pass_(decision.retry_after * SECOND)
        [again] = self.engines[number].check_all([terms], [self.client])
        self._judge(number, again)
        assert again.allowed or again.degraded

    @rule(limit=st.integers(1, 6), window=st.sampled_from(WINDOWS))
    def edit(self, limit: int, window: int) -> None:
        self.newest = PolicySnapshot(name="promise", limit=limit, window=window)

    @rule(number=st.integers(0, PROCESSES - 1))
    def notice_the_edit(self, number: int) -> None:
        self.known[number] = self.newest

    @rule(number=st.integers(0, PROCESSES - 1), away=st.booleans())
    def lose_or_find_the_store(self, number: int, away: bool) -> None:
        self.stores[number].away = away

    def _judge(self, number: int, decision: Decision) -> None:
        terms, now = self.known[number], self.clock.now
        if not decision.degraded:
            model = Model(deque(self.shared.kept))
            fits, used, free = model.ask(now, terms.limit, terms.window, 1)
            if decision.allowed:
                # A refusal by a process that remembers a blocked client is not counted by the store.
                self.shared = model
            mixed = len(set(self.known)) > 1 or now < self.mixed_until
            # While an edit is still on its way, a process may go by what it remembers: to the strict side alone.
            assert decision.allowed == fits or (mixed and not decision.allowed)
            assert decision.remaining == max(0, terms.limit - used) or mixed
            if decision.allowed and len(set(self.known)) > 1:
                self.mixed_until = now + max(WINDOWS) * SECOND + 1
            told = decision.reset_after * SECOND
            assert told < free + 1
            assert told > free - 1 or now < self.mixed_until
        elif decision.allowed:
            # An outage adds at most the share of each process.
            times = self.local[number]
            share = local_limit(terms.limit, PROCESSES)
            assert sum(at >= now - terms.window * SECOND for at in times) < share
            times.append(now)


def test_the_promise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="ratelimits.engine.store")
    run_state_machine_as_test(
        OneClient,
        settings=settings(max_examples=150, derandomize=True, stateful_step_count=40, deadline=None),
    )
