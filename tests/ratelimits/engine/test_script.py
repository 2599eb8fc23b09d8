"""The script compared with simple models, on the real store with a simulated clock (I11)."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimits.engine.admissions import Owed
from ratelimits.engine.questions import Answer, Question
from ratelimits.engine.store_client import Store
from ratelimits.policies.policy_snapshot import SHADOW, PolicySnapshot
from tests.ratelimits.engine.simulated_store import SECOND, Clock, ask, numbers, simulated_store, url

Step = tuple[int, int, int, int]
# Longer than any test takes, because the store expires keys by its real clock.
windows = st.sampled_from([30, 60, 600])
limits = st.sampled_from([1, 2, 3, 5, 8])
# Often exactly at the edge of a window.
pauses = st.one_of(
    st.integers(0, 3 * SECOND),
    st.sampled_from([0, 1, 30 * SECOND - 1, 30 * SECOND, 30 * SECOND + 1, 60 * SECOND]),
    st.integers(0, 700 * SECOND),
)
costs = st.sampled_from([1, 1, 1, 1, 2, 3])


@dataclass
class Model:
    """An exact window. ``kept``: the admissions that it must remember, newest first."""

    kept: deque[int] = field(default_factory=deque)

    def ask(self, now: int, limit: int, window: int, cost: int) -> tuple[bool, int, int]:
        counted = [at for at in self.kept if at >= now - window * SECOND][:limit]
        fits = len(counted) + cost <= limit
        if fits:
            free = counted[-1] + window * SECOND - now + 1 if counted else window * SECOND + 1
            self.kept = deque([now] * cost + list(self.kept), maxlen=None)
            self.kept = deque(list(self.kept)[:limit])
            return True, len(counted) + cost, free
        oldest = counted[limit - cost] if cost <= limit and counted else now
        free = oldest + window * SECOND - now + 1
        return False, len(counted), free


def key() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize(
    ("earlier", "reads"),
    [(0, {"llen": 1}), (3, {"llen": 1, "lindex": 2, "pttl": 1})],
    ids=["the first of a client", "a later one"],
)
def test_usual_request_reads_and_writes_few_times(earlier: int, reads: dict[str, int]) -> None:
    """The generation, the length, the newest and the oldest entry, the expiry; it adds one and expires it."""
    Clock()
    store, policy, client = simulated_store(), PolicySnapshot(name="plain", limit=100, window=60), key()
    for _ in range(earlier):
        ask(store, policy, client)
    # Of a new store, it makes the generation.
    ask(store, policy, key())
    server = redis.Redis.from_url(url())
    server.config_resetstat()
    ask(store, policy, client)
    asked = {
        name.removeprefix("cmdstat_"): counted["calls"]
        for name, counted in server.info("commandstats").items()
    }
    of_clock = asked.pop("get") - 1
    assert asked.pop("evalsha") == 1
    assert of_clock == 2
    asked = {name: count for name, count in asked.items() if not name.startswith("config")}
    assert asked == reads | {"lpush": 1, "pexpire": 1}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(pauses, limits, windows, costs), min_size=1, max_size=40))
def test_moving_window_equals_the_model_through_edits(steps: list[Step]) -> None:
    clock, store, model, client = Clock(), simulated_store(), Model(), key()
    for pause, limit, window, cost in steps:
        clock.pass_(pause)
        policy = PolicySnapshot(name="edited", limit=limit, window=window)
        assert ask(store, policy, client, cost) == model.ask(clock.now, limit, window, cost)


@settings(max_examples=150, deadline=None)
@given(limits, windows, st.lists(st.tuples(pauses, st.booleans()), min_size=1, max_size=60))
def test_no_window_has_more_requests_than_the_limit(
    limit: int, window: int, arrivals: list[tuple[int, bool]]
) -> None:
    """A client that waits as long as it was told is allowed, and not a microsecond earlier."""
    clock, store, client = Clock(), simulated_store(), key()
    policy = PolicySnapshot(name="plain", limit=limit, window=window)
    admitted: list[int] = []
    for pause, patient in arrivals:
        clock.pass_(pause)
        fits, _, free = ask(store, policy, client)
        if not fits and patient:
            clock.pass_(free - 1)
            assert ask(store, policy, client)[0] is False
            clock.pass_(1)
            fits = ask(store, policy, client)[0]
            assert fits
        if fits:
            assert sum(at >= clock.now - window * SECOND for at in admitted) < limit
            admitted.append(clock.now)


@settings(max_examples=100, deadline=None)
@given(limits, windows, st.lists(pauses, min_size=1, max_size=60))
def test_counter_admits_at_most_twice_the_limit_and_gives_the_right_wait(
    limit: int, window: int, arrivals: list[int]
) -> None:
    clock, store, client = Clock(), simulated_store(), key()
    policy = PolicySnapshot(name="counter", limit=limit, window=window, algorithm="counter")
    admitted: list[int] = []
    for pause in arrivals:
        clock.pass_(pause)
        fits, used, free = ask(store, policy, client)
        if not fits:
            clock.pass_(free)
            fits, used, _ = ask(store, policy, client)
            assert fits
        assert used <= limit
        admitted.append(clock.now)
        assert sum(at > clock.now - window * SECOND for at in admitted) <= 2 * limit


Algorithm = Literal["moving", "counter"]


@settings(max_examples=100, deadline=None)
@given(
    limits,
    windows,
    st.lists(st.tuples(pauses, st.sampled_from(["moving", "counter"])), min_size=2, max_size=40),
)
def test_edited_algorithm_loses_no_counts(
    limit: int, window: int, steps: list[tuple[int, Algorithm]]
) -> None:
    """Alternating algorithms admit at most twice the limit, as the weaker of them promises."""
    clock, store, client = Clock(), simulated_store(), key()
    admitted: list[int] = []
    for pause, algorithm in steps:
        clock.pass_(pause)
        policy = PolicySnapshot(name="changing", limit=limit, window=window, algorithm=algorithm)
        if ask(store, policy, client)[0]:
            admitted.append(clock.now)
            assert sum(at > clock.now - window * SECOND for at in admitted) <= 2 * limit


def test_full_window_stays_full_when_its_algorithm_changes_and_changes_back() -> None:
    clock, store, client = Clock(), simulated_store(), key()
    moving = PolicySnapshot(name="changing", limit=5, window=60)
    for _ in range(5):
        assert ask(store, moving, client)[0]
    clock.pass_(SECOND)
    counter = replace(moving, algorithm="counter")
    assert ask(store, counter, client)[:2] == (False, 5)
    clock.pass_(SECOND)
    assert ask(store, moving, client)[:2] == (False, 5)


def test_shortening_a_window_for_a_moment_loses_no_counts() -> None:
    clock, store, client = Clock(), simulated_store(), key()
    hour = PolicySnapshot(name="hour", limit=5, window=3_600)
    for _ in range(5):
        assert ask(store, hour, client)[0]
    clock.pass_(2 * SECOND)
    assert ask(store, replace(hour, window=1), client)[0]
    assert clock.store.pttl(f"rl:hour:{client}") > 3_000_000
    assert ask(store, hour, client)[:2] == (False, 5)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(limits, windows, st.sampled_from(["enforce", SHADOW])), min_size=2, max_size=3),
    st.lists(pauses, min_size=1, max_size=30),
)
def test_policies_count_a_request_together_or_not_at_all(
    stack: list[tuple[int, int, str]], arrivals: list[int]
) -> None:
    clock, store, client = Clock(), simulated_store(), key()
    policies = [
        PolicySnapshot(name=f"s{number}", limit=limit, window=window, mode=mode)
        for number, (limit, window, mode) in enumerate(stack)
    ]
    models = [Model() for _ in policies]
    for pause in arrivals:
        clock.pass_(pause)
        answer = numbers(store, policies, client)
        # Whether the request would fit each policy alone, asked on copies.
        alone = [
            Model(deque(model.kept)).ask(clock.now, each.limit, each.window, 1)[0]
            for model, each in zip(models, policies, strict=True)
        ]
        assert [bool(fits) for fits in answer[::3]] == alone
        blocked = any(not fits and each.mode != SHADOW for fits, each in zip(alone, policies, strict=True))
        for model, each, fits in zip(models, policies, alone, strict=True):
            if fits and not blocked:
                model.ask(clock.now, each.limit, each.window, 1)


def test_cost_above_the_limit_is_always_refused() -> None:
    clock, store = Clock(), simulated_store()
    for algorithm in ("moving", "counter"):
        policy = PolicySnapshot(name=algorithm, limit=3, window=60, algorithm=algorithm)
        client = key()
        assert ask(store, policy, client, cost=4) == (False, 0, 60 * SECOND + 1)
        assert ask(store, policy, client, cost=3)[:2] == (True, 3)
        assert ask(store, policy, client, cost=1)[:2] == (False, 3)
    assert clock.now


# --- what a store that lost its data is told ---

LOST = PolicySnapshot(name="lost", limit=100, window=60)


def tell(store: Store, client: str, *owed: int) -> int:
    """Tell the store what it does not know, as one process does. Return how much it counts now."""
    counted = [(LOST, f"rl:lost:{client}")]
    [answer] = store.ask([Question("", counted, 0, 0, [Owed(*owed)])])
    assert isinstance(answer, Answer)
    return answer.standings[0].used


def test_admissions_without_the_store_do_not_stand_for_those_that_it_lost() -> None:
    """The process that knows of most requests need not be the first that tells."""
    clock, store, client = Clock(), simulated_store(), key()
    clock.pass_(SECOND)
    assert tell(store, client, 50, clock.now - 30, 10) == 60
    assert ask(store, LOST, client) == (True, 61, 60 * SECOND - 30 + 1)
    clock.pass_(SECOND)
    assert tell(store, client, 60, clock.now - SECOND - 10, 0) == 71
    assert tell(store, client, 55, clock.now - SECOND - 20, 3) == 74
    # What was lost leaves the window a window after the last answer that told of it.
    clock.pass_(59 * SECOND - 10)
    assert ask(store, LOST, client)[1] == 10 + 1 + 60 + 3 + 1
    clock.pass_(1)
    assert ask(store, LOST, client)[1] == 11 + 3 + 2


@pytest.mark.parametrize("later_first", [True, False])
def test_what_came_after_an_earlier_answer_is_not_taken_for_what_it_told_of(later_first: bool) -> None:
    """Between the two answers, as many requests leave the window as come."""
    clock, store, client, lost = Clock(), simulated_store(), key(), key()
    answers = []
    for seconds, requests in ((1, 40), (49, 1), (5, 40), (7, 1)):
        clock.pass_(seconds * SECOND)
        counts = [ask(store, LOST, client)[1] for _ in range(requests)]
        answers.append((counts[-1], clock.now))
    _, first, _, second = answers
    assert (first[0], second[0]) == (41, 42)

    for used, at in (second, first) if later_first else (first, second):
        tell(store, lost, used, at, 0)
    clock.pass_(49 * SECOND)

    # It would be admitted too often if less were counted than what is still in the window.
    left = ask(store, LOST, client, cost=0)[1]
    assert left == 41
    assert ask(store, LOST, lost, cost=0)[1] >= left


def test_processes_that_knew_of_fewer_requests_add_nothing() -> None:
    clock, store, client = Clock(), simulated_store(), key()
    clock.pass_(SECOND)
    for ago, used in ((0, 90), (10, 89), (30, 60), (20, 85), (0, 90)):
        assert tell(store, client, used, clock.now - ago, 0) == 90
    assert tell(store, client, 60, clock.now - 30, 4) == 94


def test_what_a_replica_has_is_counted_once() -> None:
    clock, store, client = Clock(), simulated_store(), key()
    counted_at = []
    for _ in range(40):
        clock.pass_(10)
        ask(store, LOST, client)
        counted_at.append(clock.now)
    clock.pass_(SECOND)
    assert tell(store, client, 40, counted_at[-1], 0) == 40
    assert tell(store, client, 20, counted_at[19], 5) == 45
    # It had missed the last three.
    assert tell(store, client, 43, counted_at[-1] + 10, 0) == 48
    # Its clock is behind that of the server before it.
    assert tell(store, client, 50, clock.now + SECOND, 0) == 50


def test_full_list_is_told_nothing_twice() -> None:
    """It keeps no requests that have left the window, so that it can't tell whether it knew them."""
    clock, store, client = Clock(), simulated_store(), key()
    for _ in range(100):
        ask(store, LOST, client)
    full_at = clock.now
    clock.pass_(60 * SECOND + 1)
    for _ in range(80):
        ask(store, LOST, client)
    assert tell(store, client, 80, clock.now, 0) == 80
    assert tell(store, client, 70, full_at + 30 * SECOND, 0) == 80
