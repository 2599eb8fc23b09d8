"""The limiter on a real Valkey Cluster: under several processes, while a primary dies, and while a slot moves (I11)."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from redis.crc import key_slot
from redis.exceptions import RedisError

from opsconsole.kit.json_cache import JSONCache
from ratelimits.engine.cluster_client import ClusterStore
from ratelimits.engine.decision import Decision
from ratelimits.engine.engine import Engine
from ratelimits.engine.questions import PREFIX, Answer, Question, Return
from ratelimits.engine.shared_store import SharedStore
from ratelimits.engine.store_client import Store
from ratelimits.policies.policy_snapshot import SHADOW, PolicySnapshot
from tests.valkey_cluster import Cluster, Node, running

PROCESSES = 8
POLICY = PolicySnapshot(name="clustered", limit=100, window=600)
ADDRESSES = replace(POLICY, name="addresses", limit=5)
KEYS = replace(POLICY, name="keys", limit=20)
COUNTER = replace(KEYS, name="keys-counter", algorithm="counter")
TIMEOUT = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def engine(cluster: Cluster) -> Engine:
    return Engine(SharedStore(cluster.url, timeout=TIMEOUT))


def shard(client: str) -> str:
    return ClusterStore.shard(object.__new__(ClusterStore), f"{PREFIX}any:{client}")


def slot(client: str) -> int:
    return int(key_slot(shard(client).encode()))


def clients_apart(cluster: Cluster) -> tuple[str, str]:
    """Return two clients on different primaries."""
    first = cluster.owner(slot("first"))
    other = next(f"other-{n}" for n in range(1_000) if cluster.owner(slot(f"other-{n}")) is not first)
    return "first", other


def another_primary(cluster: Cluster, of: int) -> Node:
    """Return a primary that does not serve this slot."""
    owner = cluster.owner(of)
    return next(node for node in cluster.nodes if node is not owner and node.ask("ROLE")[0] == "master")


def answer(store: ClusterStore, question: Question) -> Answer:
    [given] = store.ask([question])
    assert isinstance(given, Answer)
    return given


def test_keys_of_a_client_share_a_slot_and_clients_are_spread(engine: Engine, cluster: Cluster) -> None:
    """The same client is counted under every policy by one script."""
    assert engine.store
    names = [f"{PREFIX}{policy.name}:spread" for policy in (POLICY, ADDRESSES)]
    assert len({engine.store.shard(name) for name in names}) == 1
    engine.check_all([POLICY, ADDRESSES], ["spread", "spread"])
    owner = cluster.owner(slot("spread"))
    kept = owner.ask("CLUSTER", "GETKEYSINSLOT", slot("spread"), 10)
    assert sorted(kept) == sorted(
        f"{PREFIX}{shard('spread')}:{rest}"
        for rest in ("clustered:spread", "addresses:spread", "(generation)")
    )
    owners = [cluster.owner(slot(f"10.0.0.{number}")).port for number in range(60)]
    assert len(set(owners)) == 3
    assert max(map(owners.count, owners)) < 40


# --- several processes ---


def serve(address: str, pipe: Any) -> None:
    """Run one process: it answers each order with how many requests the store admitted, it admitted itself, and it decided itself."""
    engine = Engine(SharedStore(address, timeout=TIMEOUT), processes=PROCESSES)
    while (order := pipe.recv()) is not None:
        requests, clients, policies = order
        decisions = [engine.check_all(policies, clients)[0] for _ in range(requests)]
        engine.tell()
        alone = [each for each in decisions if each.degraded]
        local = sum(each.allowed for each in alone)
        pipe.send((sum(each.allowed for each in decisions) - local, local, len(alone)))


@pytest.fixture
def processes(cluster: Cluster) -> Iterator[list[Any]]:
    fork = multiprocessing.get_context("fork")
    pipes, children = [], []
    for _ in range(PROCESSES):
        ours, theirs = fork.Pipe()
        child = fork.Process(target=serve, args=(cluster.url, theirs), daemon=True)
        child.start()
        pipes.append(ours)
        children.append(child)
    yield pipes
    for pipe, child in zip(pipes, children, strict=True):
        pipe.send(None)
        child.join(10)


class Counts(NamedTuple):
    """Requests that the store admitted, that processes admitted alone, and about which they decided alone."""

    shared: int
    local: int
    alone: int


def of_all(pipes: list[Any], requests: int, clients: list[str], policies: list[PolicySnapshot]) -> Counts:
    """Let all processes ask at once."""
    for pipe in pipes:
        pipe.send((requests, clients, policies))
    return Counts(*map(sum, zip(*(pipe.recv() for pipe in pipes), strict=True)))


def test_eight_processes_admit_exactly_the_limit(processes: list[Any]) -> None:
    assert of_all(processes, 40, ["exact"], [POLICY]) == Counts(POLICY.limit, 0, 0)
    counter = replace(POLICY, name="counted", algorithm="counter")
    assert of_all(processes, 40, ["exact"], [counter]) == Counts(POLICY.limit, 0, 0)


def test_eight_processes_share_limits_of_clients_on_several_primaries(
    processes: list[Any], cluster: Cluster
) -> None:
    """Neither policy admits more than its limit, and what is refused by one leaves the other as it was."""
    address, key = clients_apart(cluster)
    counts = of_all(processes, 10, [address, key], [ADDRESSES, KEYS])
    assert counts.alone == 0
    # A request that is taken back a moment later may have cost another one its place.
    assert 1 <= counts.shared <= ADDRESSES.limit


# --- a stack over several shards ---


@pytest.mark.parametrize(
    "keys", [replace(KEYS, name="spared"), replace(COUNTER, name="spared-counter")], ids=["moving", "counter"]
)
def test_refused_request_costs_the_other_policy_nothing(
    engine: Engine, cluster: Cluster, keys: PolicySnapshot
) -> None:
    address, key = clients_apart(cluster)
    who = [f"{address}-{keys.name}", key]
    addresses = replace(ADDRESSES, name=f"addresses-{keys.name}")
    for used in range(1, 6):
        first, second = engine.check_all([addresses, keys], who)
        assert (first.allowed, second.allowed, second.remaining) == (True, True, keys.limit - used)
    for _ in range(3):
        # Another process knows no blocked clients.
        asked = Engine(SharedStore(cluster.url, timeout=TIMEOUT))
        refused, spared = asked.check_all([addresses, keys], who)
        assert (refused.allowed, refused.exceeded) == (False, True)
        assert (spared.exceeded, spared.remaining) == (False, keys.limit - 5)
    assert engine.remaining(keys, key) == keys.limit - 5


def test_policy_in_shadow_mode_makes_nothing_be_taken_back(engine: Engine, cluster: Cluster) -> None:
    address, key = clients_apart(cluster)
    shadow = replace(ADDRESSES, name="shadow", mode=SHADOW)
    keys = replace(KEYS, name="keys-shadow")
    for _ in range(8):
        decisions = engine.check_all([shadow, keys], [address, key])
        assert all(each.allowed for each in decisions)
    assert engine.remaining(keys, key) == keys.limit - 8


def test_taking_back_leaves_what_was_counted_at_other_times(cluster: Cluster) -> None:
    store = ClusterStore(cluster.url, timeout=TIMEOUT)
    for policy in (KEYS, COUNTER):
        counted = [(policy, f"{PREFIX}{policy.name}:taken")]
        part = store.shard(counted[0][1])
        answers = [answer(store, Question(part, counted, cost)) for cost in (1, 3, 2)]
        back = Return(part, counted, 3, answers[1].at, answers[1].generation)
        store.take_back([back])
        assert answer(store, Question(part, counted, 0)).standings[0].used == 3
        # A counter that was cleared meanwhile is not made negative.
        store.delete([counted[0][1]])
        store.take_back([back])
        assert answer(store, Question(part, counted, 1)).standings[0].used == 1
        # Nor is anything taken from what it has counted since.
        store.take_back([back])
        assert answer(store, Question(part, counted, 0)).standings[0].used == 1


def test_nothing_is_taken_back_from_a_server_that_did_not_count_it(cluster: Cluster) -> None:
    """A replica that took over may lack the count, and then would lack another one."""
    store = ClusterStore(cluster.url, timeout=TIMEOUT)
    client = "elsewhere"
    counted = [(COUNTER, f"{PREFIX}{COUNTER.name}:{client}")]
    part = store.shard(counted[0][1])
    first = answer(store, Question(part, counted, 2))
    cluster.move(slot(client), another_primary(cluster, slot(client)), lambda: None)
    with pytest.raises(RedisError):
        store.take_back([Return(part, counted, 2, first.at, first.generation)])
    assert answer(store, Question(part, counted, 0)).standings == ()
    assert answer(store, Question(part, counted, 0)).standings[0].used == 2


def test_counts_can_be_forgotten(engine: Engine, cluster: Cluster) -> None:
    for _ in range(3):
        engine.check_all([POLICY, ADDRESSES], ["freed", "freed"])
    assert engine.free([POLICY, ADDRESSES], "freed") == [3, 3]
    assert engine.check_all([POLICY], ["freed"])[0].remaining == POLICY.limit - 1


def test_scripts_that_a_node_forgot_are_sent_again(engine: Engine, cluster: Cluster) -> None:
    address, key = clients_apart(cluster)
    both = [replace(POLICY, name="forgot"), replace(KEYS, name="forgot-keys")]
    engine.check_all(both, [address, key])
    for node in cluster.nodes:
        node.ask("SCRIPT", "FLUSH")
    assert [each.degraded for each in engine.check_all(both, [address, key])] == [False, False]


def test_node_that_loses_its_data_learns_what_processes_know(engine: Engine, cluster: Cluster) -> None:
    policy = replace(POLICY, name="flushed")
    for _ in range(70):
        assert engine.check_all([policy], ["flushed"])[0].allowed
    cluster.owner(slot("flushed")).ask("FLUSHALL")
    engine.tell()
    other = Engine(SharedStore(cluster.url, timeout=TIMEOUT))
    assert other.check_all([policy], ["flushed"])[0].remaining == policy.limit - 71


# --- a slot that moves ---


def test_slot_that_moves_while_counting_admits_no_second_limit(engine: Engine, cluster: Cluster) -> None:
    """Each request during the move is counted by one of the two nodes, or locally within this process's share."""
    policy = replace(POLICY, name="moved", limit=40)
    others = [Engine(SharedStore(cluster.url, timeout=TIMEOUT), processes=2) for _ in range(2)]
    decisions: list[Decision] = []

    def ask() -> None:
        decisions.extend(each.check_all([policy], ["moving"])[0] for each in others)

    for _ in range(5):
        ask()
    target = another_primary(cluster, slot("moving"))
    # A second client of the same shard, so that the slot is half moved for a while.
    engine.check_all(
        [policy], [next(f"near-{n}" for n in range(100_000) if slot(f"near-{n}") == slot("moving"))]
    )
    cluster.move(slot("moving"), target, ask)

    assert cluster.owner(slot("moving")) is target
    assert not any(each.degraded for each in others), "one slot that moves is no outage"
    local = sum(each.degraded for each in decisions)
    assert local <= 8
    for _ in range(50):
        ask()
    assert not decisions[-1].degraded
    admitted = sum(each.allowed for each in decisions)
    assert policy.limit <= admitted + local and admitted <= policy.limit
    assert engine.remaining(policy, "moving") == 0


def test_half_moved_slot_is_told_later_what_was_admitted_locally(cluster: Cluster) -> None:
    policy = replace(POLICY, name="halfway")
    engine = Engine(SharedStore(cluster.url, timeout=TIMEOUT))
    engine.check_all([policy], ["halfway"])
    decisions: list[Decision] = []

    def ask() -> None:
        decisions.extend(engine.check_all([policy], ["halfway"]))
        engine.tell()
        assert not engine.degraded

    cluster.move(slot("halfway"), another_primary(cluster, slot("halfway")), ask)
    assert all(each.allowed for each in decisions)
    assert any(each.degraded for each in decisions)
    left = policy.limit - 1 - len(decisions)
    assert engine.remaining(policy, "halfway") == left
    assert Engine(SharedStore(cluster.url, timeout=TIMEOUT)).remaining(policy, "halfway") == left


# --- what the console asks of the store ---


def test_cluster_says_what_it_is(cluster: Cluster) -> None:
    shared = SharedStore(cluster.url, timeout=TIMEOUT)
    facts = shared.facts()
    assert (facts.eviction, facts.keeps) == ("noeviction", True)
    assert shared.eviction() == ""
    primary = cluster.owner(0)
    primary.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert shared.eviction() == "allkeys-lru"
        assert shared.facts().eviction == "allkeys-lru"
    finally:
        primary.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_user_and_options_of_the_url_reach_every_node(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "limiter", "on", ">secret", f"~{PREFIX}*", "+@all")
    policies = [replace(POLICY, name="as-user"), replace(KEYS, name="as-user-too")]
    told = cluster.url.replace("://", "://limiter:secret@") + "?socket_timeout=30"
    engine = Engine(SharedStore(told, timeout=TIMEOUT))
    address, key = clients_apart(cluster)
    assert not any(each.degraded for each in engine.check_all(policies, [address, key]))
    for client in (address, key):
        connected = cluster.owner(slot(client)).ask("CLIENT", "LIST").splitlines()
        assert any("name=opsconsole-limiter" in each and "user=limiter" in each for each in connected)

    stranger = Engine(SharedStore(told.replace("secret", "guess"), timeout=TIMEOUT))
    assert stranger.check_all(policies, [address, key])[0].degraded
    assert "password" in stranger.degraded


def test_engine_notices_that_its_store_became_a_cluster(cluster: Cluster) -> None:
    """A process that took it for one server is sent to other nodes, and asks again what it is."""
    shared = SharedStore(cluster.url, timeout=TIMEOUT)
    shared._known = Store(cluster.url, timeout=TIMEOUT)
    engine = Engine(shared)
    policy = replace(POLICY, name="became")
    for client in ("one", "two", "three"):
        engine.check_all([policy], [client])
    assert isinstance(shared._known, ClusterStore)
    assert not engine.check_all([policy], ["four"])[0].degraded


def test_cache_of_the_console_works_on_a_cluster(cluster: Cluster) -> None:
    cache = JSONCache(cluster.url, {"KEY_PREFIX": "console", "OPTIONS": {"socket_timeout": TIMEOUT}})
    names = [f"name-{number}" for number in range(20)]
    assert len({cluster.owner(key_slot(cache.make_key(name).encode())).port for name in names}) == 3
    cache.set_many({name: {"is": name} for name in names}, timeout=None)
    assert cache.get_many([*names, "none"]) == {name: {"is": name} for name in names}
    cache.delete_many(names[:19])
    assert [cache.has_key(name) for name in names[18:]] == [False, True]
    assert (cache.add("number", 3), cache.add("number", 4), cache.incr("number")) == (True, False, 4)
    assert (cache.touch("number", 60), cache.delete("number"), cache.get("number", 7)) == (True, True, 7)
    cache.clear()
    assert cache.get(names[19]) is None


# --- a primary that dies ---


def test_primary_that_dies_under_load_costs_at_most_the_local_bound(
    cluster: Cluster, processes: list[Any]
) -> None:
    """Nothing is admitted twice, as each process keeps within its share: the replica is told what it missed."""
    policy = replace(POLICY, name="killed", limit=4_000)
    begun = of_all(processes, 30, ["killed"], [policy])
    assert begun == Counts(240, 0, 0)
    primary = cluster.owner(slot("killed"))
    replica = cluster.replica_of(primary)
    killer = threading.Timer(0.02, primary.kill)
    with cluster.replicas_take_over_soon():
        killer.start()
        counts = [begun, of_all(processes, 150, ["killed"], [policy])]
        killer.join()
        cluster.wait_until(lambda: cluster.has_replaced(primary))
    assert cluster.owner(slot("killed")) is replica

    def all_have_returned() -> bool:
        counts.append(of_all(processes, 1, ["killed"], [policy]))
        return not counts[-1].alone

    cluster.wait_until(all_have_returned)
    counts.append(of_all(processes, policy.limit // PROCESSES, ["killed"], [policy]))

    assert any(each.alone for each in counts[:-1]), "the death was noticed"
    shared, local = sum(each.shared for each in counts), sum(each.local for each in counts)
    assert local <= PROCESSES * ((policy.limit - begun.shared // PROCESSES) // PROCESSES)
    # A request whose answer was lost counts twice.
    assert policy.limit - 2 * PROCESSES <= shared + local <= policy.limit
    assert of_all(processes, 5, ["killed"], [policy]) == Counts(0, 0, 0)
    primary.start()
    cluster.wait_until(cluster.is_calm)
