"""The measurements: build each candidate's database once, then run the candidates in turn."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import beside, finding, ours, plain
from bench.cluster import Cluster
from bench.finding import Key, Question, ServerTime
from bench.peers import PEERS
from bench.shape import Shape
from bench.stub_sqs import StubSqs

GROWTH = 5
CANDIDATES = ("plain", "ours", *(peer.name for peer in PEERS))
# The server of each candidate.
Clusters = Mapping[str, Cluster]


@dataclass
class Results:
    """Seconds per run, by candidate and part; the server's time for one page, by candidate and rows."""

    seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    server: dict[Key, ServerTime] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


def measure(clusters: Clusters, shape: Shape, repeats: int, queue_url: str) -> Results:
    results = Results()
    stub = StubSqs(queue_url)
    _build(clusters, shape)
    page: tuple[str, Any] = ("", None)
    for number in range(1, repeats + 1):
        _say(f"run {number} of {repeats}")
        with _fresh(clusters["plain"], "plain") as url:
            _keep(results, "plain", plain.recover(url, stub))
            results.calls["plain"] = _sent_once(stub, shape)
        with _fresh(clusters["ours"], "ours") as url:
            spent, page = ours.recover(url, stub, shape)
            _keep(results, "ours", spent)
            results.calls["ours"] = _sent_once(stub, shape)
        with _fresh(clusters["ours"], "ours") as url:
            _keep(results, "ours", beside.recover(url, queue_url, shape))
        for peer in PEERS:
            for how, recover in peer.ways.items():
                with _fresh(clusters[peer.name], peer.database) as url:
                    recovered, seconds = asyncio.run(recover(url))
                assert recovered == shape.stale, (peer.name, how, recovered)
                _keep(results, peer.name, {how: seconds})
    results.server = _find(clusters, shape, page)
    return results


@contextmanager
def _fresh(cluster: Cluster, name: str) -> Iterator[str]:
    """Yield a copy of the rows, with no garbage from earlier work left for this process to collect."""
    with cluster.copy_of(name) as url:
        gc.collect()
        gc.freeze()
        try:
            yield url
        finally:
            gc.unfreeze()


def _build(clusters: Clusters, shape: Shape) -> None:
    _say("building: plain")
    plain.build(clusters["plain"].create("plain"), shape)
    _say("building: ours")
    ours.build(clusters["ours"].create("ours"), shape)
    for peer in PEERS:
        _say(f"building: {peer.name}")
        asyncio.run(peer.build(clusters[peer.name].create(peer.database), shape))
    databases = {"plain": "plain", "ours": "ours"} | {peer.name: peer.database for peer in PEERS}
    for name, database in databases.items():
        clusters[name].settle(database)


def _keep(results: Results, candidate: str, spent: dict[str, float]) -> None:
    for part, seconds in spent.items():
        results.seconds[candidate, part].append(seconds)


def _sent_once(stub: StubSqs, shape: Shape) -> int:
    """Check that each stale job was sent exactly once; return the number of calls and reset the record."""
    assert len(stub.job_ids) == len(set(stub.job_ids)) == shape.stale, len(stub.job_ids)
    calls = stub.calls
    stub.forget()
    return calls


def _find(clusters: Clusters, shape: Shape, page: tuple[str, Any]) -> dict[Key, ServerTime]:
    """Measure server times at the size of the runs and, in copies of the tables, at five times as many rows."""
    grown = GROWTH * shape.rows
    _say(f"finding, in {shape.rows} and in {grown} rows")
    of_plain, of_ours = clusters["plain"], clusters["ours"]
    with of_plain.copy_of("plain") as more_of_plain, of_ours.copy_of("ours") as more_of_ours:
        finding.grow(more_of_plain, shape.rows, grown)
        finding.grow(more_of_ours, shape.rows, grown)
        return finding.server_times(
            {
                ("ours", shape.rows): Question(of_ours.url("ours"), *page),
                ("ours", grown): Question(more_of_ours, *page),
                ("plain", shape.rows): Question(of_plain.url("plain"), plain.FIND),
                ("plain", grown): Question(more_of_plain, plain.FIND),
            }
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
