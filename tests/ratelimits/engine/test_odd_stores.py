"""The engine, and Django's cache, with something on the store's port that is no store, or answers in drips."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from redis.connection import Connection
from redis.exceptions import InvalidResponse, RedisError

from opsconsole.kit.json_cache import JSONCache
from opsconsole.kit.whole_answers import LimitedParser
from ratelimits.engine import store, store_facts
from ratelimits.engine.engine import Engine
from ratelimits.engine.forgotten_counts import StoreAway
from ratelimits.engine.shared_store import SharedStore
from ratelimits.engine.store_client import GENERATION, Store
from ratelimits.policies.policy_snapshot import PolicySnapshot
from tests.fakes.store import (
    DRIPS,
    ODD_ANSWERS,
    Command,
    answering,
    greet,
    odd,
    odd_from_the_start,
    odd_in_a_cluster,
)
from tests.ratelimits.engine.simulated_store import START, Clock, client, process

POLICY = PolicySnapshot(name="odd", limit=5, window=60)
# A request that meets an odd answer asks it and then a probe, which is a few answers of at most two timeouts each.
PATIENCE = 3.0
NAMES = sorted(ODD_ANSWERS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("answers", [odd, odd_from_the_start], ids=["greets", "greets oddly"])
def test_odd_store_is_noticed_at_once_and_requests_count_locally(
    answers: Callable[[str], Callable[[Command], bytes]], name: str
) -> None:
    with answering(answers(name)) as odd_store:
        engine = Engine(SharedStore(odd_store.url, timeout=0.1))
        began = time.monotonic()
        decisions = [engine.check_all([POLICY], ["a"])[0] for _ in range(POLICY.limit + 1)]
        took = time.monotonic() - began

    assert [each.allowed for each in decisions] == [True] * POLICY.limit + [False]
    assert all(each.degraded for each in decisions)
    assert engine.degraded
    assert took < PATIENCE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("answers", [odd, odd_from_the_start], ids=["greets", "greets oddly"])
def test_cache_with_an_odd_store_misses_or_fails_as_a_store(
    answers: Callable[[str], Callable[[Command], bytes]], name: str
) -> None:
    with answering(answers(name)) as odd_store:
        cache = JSONCache(odd_store.url, {"OPTIONS": {"socket_timeout": 0.2}})
        for ask in (lambda: cache.get("name"), lambda: cache.set("name", 1)):
            began = time.monotonic()
            with suppress(RedisError):
                ask()
            assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slots", [True, False], ids=["of slots", "of questions"])
def test_odd_cluster_is_noticed_at_once_and_requests_count_locally(name: str, slots: bool) -> None:
    with answering(odd(name)) as odd_store:
        odd_store.answer = odd_in_a_cluster(name, odd_store.port, slots=slots)
        engine = Engine(SharedStore(odd_store.url, timeout=0.1))
        began = time.monotonic()
        decisions = [engine.check_all([POLICY], ["a"])[0] for _ in range(POLICY.limit + 1)]
        took = time.monotonic() - began

    assert [each.allowed for each in decisions] == [True] * POLICY.limit + [False]
    assert all(each.degraded for each in decisions) and engine.degraded
    assert took < PATIENCE
    assert any(command[0] == b"CLUSTER" for command in odd_store.asked)


@pytest.mark.parametrize("name", NAMES)
def test_facts_of_an_odd_store_are_refused_in_words(name: str, settings: Any) -> None:
    with answering(odd(name)) as odd_store:
        settings.OPSCONSOLE_RATE_LIMIT_STORE = odd_store.url
        with pytest.raises(StoreAway, match="The store does not work: "):
            store.facts()
        asked = SharedStore(odd_store.url, timeout=0.2)
        asked.shard("rl:odd:a")
        assert asked.eviction() == ""
        for of_server in (store_facts.facts, lambda server: store_facts.eviction([server])):
            with suppress(RedisError):
                of_server(Store(odd_store.url, timeout=0.2).connections)


@pytest.mark.parametrize("cut", range(1, 8))
def test_long_list_is_refused_wherever_its_length_is_cut(cut: int) -> None:
    """Room for the elements is made as soon as the length is read: that of two thousand million takes seconds."""
    sent = b":1\r\n*2147483647\r\n"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        connection: Any = Connection(parser_class=LimitedParser, protocol=2)  # type: ignore[no-untyped-call]  # redis-py's
        connection._sock = ours
        connection._parser.on_connect(connection)
        theirs.sendall(sent[: 4 + cut])
        assert connection._parser.read_response() == 1
        threading.Timer(0.01, theirs.sendall, [sent[4 + cut :]]).start()
        began = time.monotonic()
        with pytest.raises(InvalidResponse, match="announces, more than any"):
            connection._parser.read_response()
        assert time.monotonic() - began < 2


def test_answers_in_pieces_are_read_whole() -> None:
    texts = [b"x" * 200_000, b"one\r\ntwo\n*12", b"", b"*123456", b"9" * 65_536]
    sent = [b"*2\r\n:%d\r\n$%d\r\n%b\r\n" % (number, len(text), text) for number, text in enumerate(texts)]
    with answering(lambda command: greet(command) or sent[int(command[1])]) as odd_store:
        connections = Store(odd_store.url, timeout=5).connections
        for _ in range(3):
            asked = [("GET", number) for number in range(len(texts))]
            assert connections.exchange(*asked) == [[number, text] for number, text in enumerate(texts)]


def test_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    def answer(command: Command) -> bytes:
        return greet(command) or b":%b\r\n:666\r\n" % command[1]

    with answering(answer) as odd_store:
        connections = Store(odd_store.url, timeout=5).connections
        assert [connections.exchange(("GET", number)) for number in (1, 2, 3)] == [[1], [2], [3]]


@pytest.mark.parametrize("foreign", ["0", "-5", "0.5", "1e300", "nan", "inf", "words"])
def test_generation_that_others_wrote_is_replaced(foreign: str) -> None:
    client().set(GENERATION, foreign)
    engine = process(Clock())
    decisions = [engine.check_all([POLICY], ["generation"])[0] for _ in range(2)]

    assert [(each.degraded, each.remaining) for each in decisions] == [(False, 4), (False, 3)]


@pytest.mark.parametrize(
    "write",
    [("HSET", "w", "60000000", "b", str(START), "c", "-5", "p", "0"), ("RPUSH", str(START), str(9 * START))],
)
def test_numbers_that_others_wrote_to_the_keys_of_a_client_harm_no_other(write: tuple[str, ...]) -> None:
    policy = replace(POLICY, algorithm="counter") if write[0] == "HSET" else replace(POLICY, limit=2)
    key = f"rl:{policy.name}:foreign"
    engine, connection = process(Clock()), client()
    connection.delete(key)
    connection.execute_command(write[0], key, *write[1:])  # type: ignore[no-untyped-call]  # redis-py's

    assert engine.check_all([policy], ["foreign"])[0].degraded
    assert not engine.check_all([policy], ["another"])[0].degraded
    assert not engine.degraded
    connection.delete(key)


@pytest.mark.parametrize("name", sorted(DRIPS))
def test_answer_in_drips_is_waited_for_twice_the_timeout(name: str) -> None:
    with answering(odd(name)) as odd_store:
        engine = Engine(SharedStore(odd_store.url, timeout=0.2))
        began = time.monotonic()
        assert engine.check_all([POLICY], ["a"])[0].degraded
        took = time.monotonic() - began

    assert 0.2 <= took < 1.5
    assert "TimeoutError" in engine.degraded
