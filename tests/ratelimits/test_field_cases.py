"""Cases in which rate limiters fail in practice."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from django.test import Client
from pytest_django.fixtures import Settings

from opsconsole import embedded
from ratelimits.engine import store
from ratelimits.engine.engine import Engine
from ratelimits.engine.local_counter import LocalWindows
from ratelimits.engine.store_client import Store
from ratelimits.identity import client_ip, untrusted_forwarding
from ratelimits.models import Policy
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import PRESETS, SHADOW, PolicySnapshot
from ratelimits.records.pending_counts import PendingCounts
from tests.ratelimits.engine.simulated_store import SECOND, Clock, process, url

STRICT = PRESETS["strict"]
POLICY = PolicySnapshot(name="field", limit=5, window=60)
PROXY, CLIENT, OTHER = "10.0.0.1", "203.0.113.7", "198.51.100.9"


@pytest.fixture
def views(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.ratelimits.requests.views"


@pytest.fixture
def behind_proxies(settings: Settings) -> None:
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48")


def address(peer: str, forwarded: str = "") -> str:
    meta = {"REMOTE_ADDR": peer} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    parsed = client_ip.client_address(meta)
    return client_ip.group(parsed) if parsed else ""


def statuses(client: Client, path: str, count: int, **extra: Any) -> list[int]:
    return [client.get(path, **extra).status_code for _ in range(count)]


# --- the identity of a client ---


@pytest.mark.usefixtures("behind_proxies")
def test_forged_first_entry_of_x_forwarded_for_is_ignored() -> None:
    assert address(PROXY, f"{OTHER}, {CLIENT}") == CLIENT
    assert address(CLIENT, OTHER) == CLIENT


@pytest.mark.usefixtures("behind_proxies", "views")
def test_forged_entries_of_x_forwarded_for_earn_no_quota(client: Client) -> None:
    responses = [
        client.get("/strict", REMOTE_ADDR=PROXY, HTTP_X_FORWARDED_FOR=f"192.0.2.{number}, {CLIENT}")
        for number in range(12)
    ]
    assert [response.status_code for response in responses] == [200] * 10 + [429] * 2


@pytest.mark.usefixtures("behind_proxies")
def test_client_behind_two_proxies() -> None:
    assert address(PROXY, f"{OTHER}, {CLIENT}, 10.9.9.9") == CLIENT
    assert address("2001:db8:ffff::1", f"{CLIENT}, 10.9.9.9") == CLIENT
    assert address(PROXY, "10.1.1.1, 10.2.2.2") == "10.1.1.1"


@pytest.mark.usefixtures("behind_proxies")
@pytest.mark.parametrize("garbage", ["unknown", "", "_hidden", "1.2.3", "999.1.1.1", "\x00", "::1::2"])
def test_invalid_entry_of_x_forwarded_for_ends_the_search(garbage: str) -> None:
    assert address(PROXY, f"{CLIENT}, {garbage}, 10.9.9.9") == "10.9.9.9"
    assert address(PROXY, garbage) == PROXY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::ffff:203.0.113.7", CLIENT),
        ("::ffff:cb00:7107", CLIENT),
        ("[::ffff:203.0.113.7]:443", CLIENT),
        ("203.0.113.7:5555", CLIENT),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:80", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (" 203.0.113.7 ", CLIENT),
    ],
    ids=["mapped", "mapped in hexadecimal", "mapped, port", "port", "/64", "v6, port", "zone", "blanks"],
)
@pytest.mark.usefixtures("behind_proxies")
def test_address_is_parsed_in_every_notation(text: str, expected: str) -> None:
    assert address(text) == expected
    assert address(PROXY, text) == expected


@pytest.mark.usefixtures("views")
def test_requests_through_a_unix_socket(client: Client, settings: Settings) -> None:
    """All clients count as one unless the proxy that connects through the socket is trusted."""
    assert statuses(client, "/strict", 11, REMOTE_ADDR="") == [200] * 10 + [429]
    assert address("", CLIENT) == ""
    settings.OPSCONSOLE_TRUSTED_PROXIES = ("unix",)
    assert address("", CLIENT) == CLIENT


@pytest.mark.usefixtures("views")
def test_rotating_invalid_keys_earn_no_quota(client: Client) -> None:
    responses = [client.get("/strict", HTTP_X_API_KEY=f"made-up-{number}") for number in range(12)]
    assert [response.status_code for response in responses] == [200] * 10 + [429] * 2


def test_x_forwarded_for_from_an_untrusted_peer_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    untrusted_forwarding._logged.clear()
    for _ in range(3):
        assert address(CLIENT, OTHER) == CLIENT
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert untrusted_forwarding.take() == CLIENT
    assert untrusted_forwarding.take() == ""


# --- edits ---


@pytest.mark.parametrize("algorithm", ["moving", "counter"])
def test_retry_after_is_right_after_a_limit_was_lowered(algorithm: Any) -> None:
    """A request is allowed after Retry-After seconds, and refused a second earlier."""
    clock = Clock()
    engine = process(clock)
    wide = PolicySnapshot(name="lowered", limit=20, window=60, algorithm=algorithm)
    for _ in range(10):
        clock.pass_(SECOND)
        assert engine.check_all([wide], ["a"])[0].allowed
    narrow = replace(wide, limit=4)
    refused = engine.check_all([narrow], ["a"])[0]
    assert not refused.allowed and refused.remaining == 0
    clock.pass_((refused.retry_after - 1) * SECOND)
    assert not process(clock).check_all([narrow], ["a"])[0].allowed
    clock.pass_(SECOND)
    assert engine.check_all([narrow], ["a"])[0].allowed


def test_raised_limit_unblocks_a_client_at_once() -> None:
    clock = Clock()
    engine = process(clock)
    for expected in [True] * 5 + [False] * 2:
        assert engine.check_all([POLICY], ["a"])[0].allowed is expected
    assert engine.check_all([replace(POLICY, limit=6)], ["a"])[0].allowed


@pytest.mark.django_db
@pytest.mark.usefixtures("views", "live_policies")
def test_edit_of_another_policy_keeps_the_counts(client: Client) -> None:
    assert statuses(client, "/strict", 8) == [200] * 8
    Policy.objects.filter(name="relaxed").update(limit=5)
    policy_cache._state.check_at = 0
    assert statuses(client, "/strict", 3) == [200, 200, 429]


# --- the store ---


@pytest.fixture
def silent_store() -> Iterator[socket.socket]:
    """Run a store to which one can connect, but which never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_only_one_request_waits_for_a_hung_store(silent_store: socket.socket) -> None:
    """After one request timed out, the others skip the store: they don't even connect."""
    engine = Engine(Store(f"redis://127.0.0.1:{silent_store.getsockname()[1]}"), processes=2)
    decisions = [engine.check_all([POLICY], ["a"])[0] for _ in range(50)]
    silent_store.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent_store.accept()
    assert [decision.allowed for decision in decisions] == [True] * 2 + [False] * 48
    assert all(decision.degraded for decision in decisions)
    assert engine.degraded


@pytest.mark.parametrize(("away", "admitted"), [("local", 5), ("open", 8), ("closed", 0)])
def test_policy_decides_what_happens_while_the_store_is_unavailable(away: str, admitted: int) -> None:
    engine = Engine(Store("redis://127.0.0.1:1"))
    policy = replace(POLICY, away=away)
    assert sum(engine.check_all([policy], ["a"])[0].allowed for _ in range(8)) == admitted
    shadow = replace(policy, mode=SHADOW)
    assert all(engine.check_all([shadow], ["a"])[0].allowed for _ in range(8))


def test_store_is_used_again_after_an_outage(tmp_path: Path) -> None:
    """The store is used again without a restart, and its counts from before the outage still count."""
    clock = Clock()
    service = embedded.start_valkey(tmp_path)
    engine = Engine(Store(service.url), clock=clock.monotonic)
    try:
        assert [engine.check_all([POLICY], ["a"])[0].degraded for _ in range(2)] == [False] * 2
    finally:
        service.stop()
    assert engine.check_all([POLICY], ["a"])[0].degraded
    restarted = embedded.start_valkey(tmp_path)
    try:
        engine.store = Store(restarted.url)
        assert engine.check_all([POLICY], ["a"])[0].degraded
        clock.pass_(5 * SECOND)
        assert not engine.check_all([POLICY], ["a"])[0].degraded
        assert not engine.degraded
    finally:
        restarted.stop()


def test_restarted_store_is_not_an_outage(tmp_path: Path) -> None:
    service = embedded.start_valkey(tmp_path)
    engine = Engine(Store(service.url))
    try:
        assert not engine.check_all([POLICY], ["a"])[0].degraded
        with redis.Redis.from_url(service.url) as other:
            assert other.client_kill_filter(_type="normal", skipme=True) == 1
        assert not engine.check_all([POLICY], ["a"])[0].degraded
        with redis.Redis.from_url(service.url) as other:
            other.script_flush()
        assert not engine.check_all([POLICY], ["a"])[0].degraded
    finally:
        service.stop()


def test_blocked_client_does_not_reach_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is not asked until the client could be allowed restarted."""
    clock = Clock()
    engine = process(clock)
    for _ in range(6):
        engine.check_all([POLICY], ["a"])
    assert engine.store

    def fail(*_: object) -> list[int]:
        raise AssertionError("the store was asked")

    with monkeypatch.context() as patch:
        patch.setattr(engine.store, "ask", fail)
        clock.pass_(59 * SECOND)
        refused = [engine.check_all([POLICY], ["a"])[0] for _ in range(1_000)]
    assert {decision.retry_after for decision in refused} == {2}
    clock.pass_(2 * SECOND)
    assert engine.check_all([POLICY], ["a"])[0].allowed


# --- modes and several policies ---


@pytest.mark.django_db
@pytest.mark.usefixtures("views", "live_policies")
def test_shadow_mode_refuses_nothing(client: Client) -> None:
    Policy.objects.filter(name="strict").update(mode=SHADOW)
    responses = [client.get("/strict") for _ in range(12)]
    assert [response.status_code for response in responses] == [200] * 12
    assert responses[-1].headers["RateLimit"].startswith('"strict";r=0;t=')
    assert "Retry-After" not in responses[-1].headers


@pytest.mark.usefixtures("views")
def test_two_policies_count_a_request_together_or_not_at_all(client: Client) -> None:
    """The headers list both policies. If one refuses a request, neither counts it."""
    responses = [client.get("/stacked") for _ in range(15)]
    assert [response.status_code for response in responses] == [200] * 10 + [429] * 5
    assert responses[9].headers["RateLimit-Policy"] == '"strict";q=10;w=60, "standard";q=100;w=60'
    assert responses[9].headers["RateLimit"].split(", ")[1].startswith('"standard";r=90;')
    assert client.get("/standard/a").headers["RateLimit"].startswith('"standard";r=89;')


# --- bounded memory ---


def test_memory_is_bounded_with_ten_thousand_clients() -> None:
    """Blocked clients, local counts and records stay within their bounds, and no client is allowed because of them."""
    clock = Clock()
    engine = process(clock)
    for number in range(10_500):
        engine.blocked.add(f"rl:field:{number}", POLICY, 60.0)
    assert len(engine.blocked) == 10_000
    local = LocalWindows(clock.monotonic)
    fits = [local.count(f"rl:field:{number}", 1, 60, 1).fits for number in range(10_500)]
    assert fits == [True] * 10_001 + [False] * 499
    assert len(local) == 10_001
    clock.pass_(61 * SECOND)
    assert local.count("rl:field:new", 1, 60, 1).fits
    assert len(local) == 1
    pending = PendingCounts()
    for number in range(10_500):
        pending.add("field", f"address:{number}", "/", "GET", "allowed")
    assert len(pending) == 5_001
    assert sum(pending.take().values()) == 10_500


@pytest.mark.parametrize("start", [0.0, 1e-6, 3_600.1, 12_345_678.000_001])
def test_local_count_is_exact_at_the_edge_of_a_window(start: float) -> None:
    """A request exactly as old as the window still counts; a microsecond later it does not."""
    now = [start]
    local = LocalWindows(lambda: now[0])
    assert local.count("rl:edge:a", 1, 30, 1).fits
    now[0] = start + 30
    assert not local.count("rl:edge:a", 1, 30, 1).fits
    now[0] = start + 30.000_001
    assert local.count("rl:edge:a", 1, 30, 1).fits


def test_number_of_local_counts_is_bounded() -> None:
    local = LocalWindows(max_requests=10)
    assert sum(local.count(f"rl:a:{number}", 100, 60, 4).fits for number in range(5)) == 2


# --- many processes ---


def test_engine_does_not_use_the_clock_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts whose clocks are an hour apart share one limit."""
    admitted = 0
    for skew in (0, 3_600, -3_600):
        monkeypatch.setattr(time, "time", lambda skew=skew: 1_800_000_000 + skew)
        engine = Engine(Store(url()))
        admitted += sum(engine.check_all([POLICY], ["skewed"])[0].allowed for _ in range(5))
    assert admitted == 5


def test_check_accepts_the_name_of_a_policy() -> None:
    assert [store.check("strict", "a").allowed for _ in range(11)] == [True] * 10 + [False]
    with pytest.raises(policy_cache.UnknownPolicy, match="There is no policy 'fast'"):
        store.check("fast", "a")
    with pytest.raises(ValueError, match="must be at least 1"):
        store.check(STRICT, "a", cost=0)
