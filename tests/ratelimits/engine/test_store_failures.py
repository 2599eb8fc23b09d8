"""The engine with real stores that refuse writes, hold wrong keys, lose their data, or have their clock set back."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from opsconsole import embedded
from opsconsole.embedded.service import socket_folder
from opsconsole.kit.json_cache import JSONCache
from ratelimits.engine import script, store
from ratelimits.engine.decision import CostAboveLimit
from ratelimits.engine.engine import Engine
from ratelimits.engine.shared_store import SharedStore
from ratelimits.engine.store_client import GENERATION, WHOLE, Store
from ratelimits.policies.policy_snapshot import PRESETS, SHADOW, PolicySnapshot
from tests.ratelimits.engine.simulated_store import SECOND, Clock, client, process, url

POLICY = PolicySnapshot(name="failing", limit=5, window=60)
COUNTER = replace(POLICY, name="failing-counter", algorithm="counter")
HOUR = 3_600 * SECOND


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[embedded.Service]:
    service = embedded.start_valkey(tmp_path)
    yield service
    service.stop()


@contextmanager
def connected(address: str) -> Iterator[Any]:
    with redis.Redis.from_url(address) as connection:
        yield connection


def be_a_replica(connection: Any) -> None:
    connection.execute_command("REPLICAOF", "127.0.0.1", "1")


def be_full(connection: Any) -> None:
    connection.config_set("maxmemory", 1)


def refuse_our_keys(connection: Any) -> None:
    connection.execute_command("ACL", "SETUSER", "limiter", "on", ">secret", "~cache:*", "+@all")


def test_store_that_does_not_say_what_it_is_counts_as_one_server(valkey: embedded.Service) -> None:
    with connected(valkey.url) as connection:
        allowed = ("~rl:*", "~cache:*", "+@all", "-info")
        connection.execute_command("ACL", "SETUSER", "limiter", "on", ">secret", *allowed)
    address = f"unix://limiter:secret@{urlsplit(valkey.url).path}"
    engine = Engine(SharedStore(address, timeout=10))
    for left in (4, 3):
        decision = engine.check_all([POLICY], ["a"])[0]
        assert (decision.degraded, decision.remaining) == (False, left)
    cache = JSONCache(address, {"KEY_PREFIX": "cache"})
    cache.set("name", 1)
    assert cache.get("name") == 1


@pytest.mark.parametrize("fault", [be_a_replica, be_full, refuse_our_keys])
def test_store_that_refuses_writes_is_not_declared_healthy(valkey: embedded.Service, fault: Any) -> None:
    clock = [0.0]
    with connected(valkey.url) as connection:
        fault(connection)
    address = valkey.url
    if fault is refuse_our_keys:
        address = f"unix://limiter:secret@{urlsplit(valkey.url).path}"
    engine = Engine(Store(address, timeout=10), clock=lambda: clock[0])

    seen = []
    for _ in range(10):
        seen.append((engine.check_all([POLICY], ["a"])[0].degraded, bool(engine.degraded)))
        clock[0] += 31
        engine.probe()
        seen.append((True, bool(engine.degraded)))

    assert set(seen) == {(True, True)}


def test_full_window_does_not_make_a_read_only_store_healthy(valkey: embedded.Service) -> None:
    """The script writes nothing for a request that it refuses, so its answer proves nothing."""
    clock = [0.0]
    engine = Engine(Store(valkey.url, timeout=10), clock=lambda: clock[0])
    for _ in range(POLICY.limit):
        engine.check_all([POLICY], ["full"])
    with connected(valkey.url) as connection:
        be_a_replica(connection)
    engine.check_all([POLICY], ["other"])
    assert engine.degraded

    clock[0] += 6
    assert engine.check_all([POLICY], ["full"])[0].degraded
    assert engine.degraded


@pytest.mark.parametrize("policy", [POLICY, COUNTER], ids=["moving", "counter"])
@pytest.mark.parametrize(
    "write",
    [
        ("SET", "text"),
        ("SADD", "member"),
        ("RPUSH", "no number"),
        ("HSET", "w", "no number"),
        ("HSET", "colour", "red"),
        ("ZADD", "1", "member"),
    ],
    ids=" ".join,
)
def test_key_of_a_wrong_type_is_replaced(policy: PolicySnapshot, write: tuple[str, ...]) -> None:
    engine, connection = process(Clock()), client()
    for key in (f"rl:{policy.name}:wrong", GENERATION):
        connection.delete(key)
        connection.execute_command(write[0], key, *write[1:])  # type: ignore[no-untyped-call]  # redis-py's

    decisions = [engine.check_all([policy], [who])[0] for who in ["wrong", "right"] * 6]

    assert not any(decision.degraded for decision in decisions)
    assert sum(decision.allowed for decision in decisions[::2]) == policy.limit
    assert sum(decision.allowed for decision in decisions[1::2]) == policy.limit


def test_key_that_makes_the_script_fail_harms_one_client() -> None:
    broken = (
        "for _, key in ipairs(KEYS) do "
        "if key == 'rl:failing:broken' then return redis.error_reply('ERR broken') end end "
    )
    engine = Engine(Store(url(), broken + script.source(), timeout=10))

    assert engine.check_all([POLICY], ["broken"])[0].degraded
    assert not engine.check_all([POLICY], ["whole"])[0].degraded
    engine.admissions.add("rl:failing:told", POLICY, 1)
    engine.tell()
    assert not engine.degraded
    assert engine.admissions.owing(lambda _: engine.told.generations[WHOLE]) == []
    assert engine.check_all([POLICY], ["told"])[0].remaining == POLICY.limit - 2


@pytest.mark.parametrize("policy", [POLICY, COUNTER], ids=["moving", "counter"])
def test_clock_of_the_store_that_went_back_blocks_nobody(policy: PolicySnapshot) -> None:
    clock = Clock()
    for _ in range(policy.limit):
        assert process(clock).check_all([policy], ["back"])[0].allowed
    # The processes have clocks of their own, which don't go back.
    clock.pass_(-HOUR)

    refused = process(clock).check_all([policy], ["back"])[0]
    assert not refused.allowed
    assert refused.retry_after <= 2 * policy.window
    clock.pass_(refused.retry_after * SECOND)
    assert process(clock).check_all([policy], ["back"])[0].allowed


def test_headers_never_name_a_time_longer_than_the_window() -> None:
    engine = process(Clock())
    decisions = [engine.check_all([POLICY], ["t"])[0] for _ in range(7)]

    assert [decision.reset for decision in decisions] == [60] * 7
    assert [decision.retry_after for decision in decisions] == [0] * 5 + [61] * 2


def test_cost_above_the_limit_is_refused_as_a_mistake() -> None:
    strict = PRESETS["strict"]
    with pytest.raises(
        CostAboveLimit, match="cost of 11 can never be allowed: the limit of the policy 'strict' is 10"
    ):
        store.check(strict, "a", cost=11)
    assert store.check(replace(strict, mode=SHADOW), "a", cost=11).allowed
    assert store.check(strict, "b", cost=10).allowed


def test_timeouts_in_the_url_do_not_make_requests_wait() -> None:
    separator = "&" if "?" in url() else "?"
    kwargs = Store(f"{url()}{separator}socket_timeout=30&decode_responses=1")._pool.connection_kwargs

    assert (kwargs["socket_timeout"], kwargs["decode_responses"]) == (0.1, False)


def test_process_that_lives_long_goes_on_connecting(valkey: embedded.Service) -> None:
    """redis-py's pool refuses the connection after its hundredth, also where the others were closed long ago."""
    server = Store(valkey.url, timeout=10)
    for _ in range(150):
        assert server.facts().eviction == "noeviction"
    server.probe()


def test_store_that_evicts_keys_is_named(valkey: embedded.Service) -> None:
    store = Store(valkey.url, timeout=10)
    assert store.eviction() == ""
    with connected(valkey.url) as connection:
        connection.config_set("maxmemory-policy", "allkeys-lru")
    assert store.eviction() == "allkeys-lru"
    assert Store("redis://127.0.0.1:1").eviction() == ""


# --- a store that restarts empty, under several processes ---

PROCESSES = 4
STANDARD = PRESETS["standard"]


def serve(address: str, pipe: Any) -> None:
    """Run one process of the limiter: it answers each number with as many decisions, after so many seconds passed."""
    shift = 0.0
    engine = Engine(Store(address, timeout=10), processes=PROCESSES, clock=lambda: time.monotonic() + shift)
    while (order := pipe.recv()) is not None:
        requests, seconds = order
        shift += seconds
        engine.probe()
        if not requests:
            engine.tell()
        decisions = [engine.check_all([STANDARD], ["one client"])[0] for _ in range(requests)]
        pipe.send([(decision.allowed, decision.degraded) for decision in decisions])


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Any]]:
    fork = multiprocessing.get_context("fork")
    pipes, children = [], []
    for _ in range(PROCESSES):
        ours, theirs = fork.Pipe()
        child = fork.Process(
            target=serve, args=(f"unix://{socket_folder(tmp_path)}/valkey.sock", theirs), daemon=True
        )
        child.start()
        pipes.append(ours)
        children.append(child)
    yield pipes
    for pipe, child in zip(pipes, children, strict=True):
        pipe.send(None)
        child.join(10)


def ask(pipe: Any, requests: int, seconds: float = 0.0) -> list[tuple[bool, bool]]:
    pipe.send((requests, seconds))
    answer: list[tuple[bool, bool]] = pipe.recv()
    return answer


def admitted(answers: list[tuple[bool, bool]]) -> int:
    return sum(allowed for allowed, _ in answers)


@pytest.mark.parametrize("others_tell_first", [False, True])
def test_store_that_restarts_empty_admits_no_second_limit(
    processes: list[Any], tmp_path: Path, others_tell_first: bool
) -> None:
    killed = embedded.start_valkey(tmp_path)
    before = sum(admitted(ask(processes[number % PROCESSES], 1)) for number in range(95))
    killed.stop()
    during = [ask(pipe, 30) for pipe in processes]
    restarted = embedded.start_valkey(tmp_path)
    try:
        assert restarted.url == killed.url
        if others_tell_first:
            for pipe in processes:
                ask(pipe, 0, 6)
        after = [ask(pipe, 60, 6) for pipe in processes]
    finally:
        restarted.stop()

    assert before == 95
    assert all(degraded for answers in during for _, degraded in answers)
    assert not any(degraded for answers in after for _, degraded in answers)
    outage = sum(map(admitted, during))
    # Each process saw 5 to 8 left, and admits at least one.
    assert PROCESSES <= outage <= 2 * PROCESSES
    total = before + outage + sum(map(admitted, after))
    assert 100 <= total <= STANDARD.limit + 2 * PROCESSES


@pytest.mark.parametrize("address", [None, "redis://127.0.0.1:1"])
def test_without_a_store_a_request_counts_under_all_policies_or_none(address: str | None) -> None:
    engine = Engine(Store(address) if address else None)
    quota = replace(POLICY, name="failing-quota", limit=6)
    both = [POLICY, quota]
    for _ in range(POLICY.limit):
        assert all(each.allowed for each in engine.check_all(both, ["noisy", "key"]))
    for _ in range(20):
        [refused] = engine.check_all(both, ["noisy", "key"])
        assert refused.snapshot == POLICY and not refused.allowed
    assert all(each.allowed for each in engine.check_all(both, ["another", "key"]))
    for _ in range(20):
        assert not engine.check_all(both, ["third", "key"])[-1].allowed
    [decision] = engine.check_all([POLICY], ["third"])
    assert (decision.allowed, decision.remaining) == (True, POLICY.limit - 1)
