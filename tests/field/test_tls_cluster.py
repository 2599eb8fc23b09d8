"""A cluster that speaks TLS only, of Debian's server: the embedded one is built without TLS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import RedisError

from opsconsole.kit.json_cache import JSONCache
from ratelimits.engine.engine import Engine
from ratelimits.engine.shared_store import SharedStore
from ratelimits.policies.policy_snapshot import PolicySnapshot
from tests.field.installed import installed
from tests.field.proxy import write_certificate
from tests.valkey_cluster import Cluster, Tls, running

LIMIT, THREADS, PATIENCE = 100, 8, 10.0
POLICY = PolicySnapshot(name="encrypted", limit=LIMIT, window=600)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    server = installed("redis-server", "valkey-server")
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder)
    with running(folder, Tls(server, folder / "certificate.pem", folder / "key.pem")) as started:
        yield started


def admitted(engine: Engine, client: str, count: int) -> int:
    return sum(engine.check_all([POLICY], [client])[0].allowed for _ in range(count))


def test_exact_under_threads(cluster: Cluster) -> None:
    engines = [Engine(SharedStore(cluster.url, timeout=PATIENCE)) for _ in range(THREADS)]

    for client in ("a", "b", "c"):
        with ThreadPoolExecutor(THREADS) as pool:
            counts = list(pool.map(lambda engine: admitted(engine, client, 25), engines))  # noqa: B023 - used at once
        assert sum(counts) == LIMIT
    assert [engine.degraded for engine in engines] == [""] * THREADS


def test_cache_keeps_what_it_is_given(cluster: Cluster) -> None:
    cache = JSONCache(cluster.url, {"KEY_PREFIX": "tls"})

    cache.set_many({f"key-{number}": number for number in range(20)})

    assert cache.get_many([f"key-{number}" for number in range(20)]) == {f"key-{n}": n for n in range(20)}


def test_certificate_of_a_stranger_is_refused(cluster: Cluster) -> None:
    """A server that can't prove who it is gets no counts, and the limiter says why."""
    with pytest.raises(StoreConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        SharedStore(cluster.url.partition("?")[0], timeout=PATIENCE).probe()


def test_limiter_heals_after_a_primary_died(cluster: Cluster) -> None:
    """The last test: it ends one of the servers."""
    store = SharedStore(cluster.url, timeout=PATIENCE)
    engine = Engine(store)
    assert admitted(engine, "d", LIMIT // 2) == LIMIT // 2
    cluster.wait_until(cluster.is_whole)
    primary = next(node for node in cluster.nodes if node.ask("ROLE")[0] == "master")

    with cluster.replicas_take_over_soon():
        primary.kill()
        cluster.wait_until(lambda: cluster.has_replaced(primary))
    cluster.wait_until(lambda: works(store))

    assert admitted(Engine(store), "e", LIMIT + 20) == LIMIT


def works(store: SharedStore) -> bool:
    try:
        store.probe()
    except RedisError:
        return False
    return True
