"""``make bench-clients``: clients of the store that could ask for a decision, and what our engine adds to one.

Each candidate asks the limiter's script about a client under one policy, on one Valkey, in turns of this process; the last one is
what django-ratelimit asks of Django's RedisCache. valkey-glide-sync takes part where it is installed.
Environment: BENCH_TIMES (1000 questions per turn), BENCH_TURNS (5).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import redis
from django.core.cache.backends.redis import RedisCache

from bench import process_clock
from bench.ratelimit import on_loopback
from opsconsole import embedded

ASKED_BY_ONE = 50
GLIDE = "glide_sync"
Ask: TypeAlias = Callable[[str], Any]


class Figures(NamedTuple):
    """Microseconds per question."""

    client: float
    store: float
    p50: float
    p99: float


def main() -> None:
    times, turns = int(os.environ.get("BENCH_TIMES", "1000")), int(os.environ.get("BENCH_TURNS", "5"))
    os.environ |= {"OPSCONSOLE_ENV": "development", "DATABASE_URL": "postgres://unused.invalid/unused"}
    os.environ["DJANGO_SETTINGS_MODULE"] = "opsconsole.settings"
    with TemporaryDirectory(prefix="bench-") as folder, embedded.start_valkey(Path(folder)) as valkey:
        address = on_loopback(valkey.url)
        os.environ["CACHE_URL"] = address
        importlib.import_module("django").setup()
        found: dict[str, list[Figures]] = {}
        asks = dict(candidates(address))
        for turn in range(turns + 1):
            for at, (name, ask) in enumerate(asks.items()):
                figures = _measure(ask, valkey.pid, times, f"{turn}-{at}")
                if turn:
                    found.setdefault(name, []).append(figures)
    print("\n".join(table(found, times, turns)))


def _measure(ask: Callable[[str], Any], store: int, times: int, name: str) -> Figures:
    walls, before = [], process_clock.seconds(store)
    began = time.process_time()
    for number in range(times):
        at = time.perf_counter()
        ask(f"{name}-{number // ASKED_BY_ONE}")
        walls.append(time.perf_counter() - at)
    client = time.process_time() - began
    cuts = quantiles(walls, n=100)
    spent = process_clock.seconds(store) - before
    return Figures(*(seconds * 1e6 for seconds in (client / times, spent / times, cuts[49], cuts[98])))


def candidates(address: str) -> Iterator[tuple[str, Ask]]:
    """Yield the name of each client, and the function by which it asks about one client of the limiter."""
    from ratelimits.engine import script  # noqa: PLC0415 - it needs the settings
    from ratelimits.engine.store_client import Store  # noqa: PLC0415
    from ratelimits.policies.policy_snapshot import PolicySnapshot  # noqa: PLC0415

    policy = PolicySnapshot(name="bench", limit=100, window=60)
    text = script.source()
    store = Store(address)
    sha = store._script.sha

    def asked(client: str) -> list[Any]:
        policy_values = [policy.algorithm, policy.limit, policy.window]
        return [f"rl:bench:{client}", "rl:(generation)", 1, 0, *policy_values, "1", 0, 0, 0]

    yield from _ours(store, policy, asked)
    on_thread = threading.local()
    on_thread.connection = store._pool.make_connection()
    yield (
        "redis-py: one connection per thread",
        lambda client: _alone(on_thread.connection, sha, asked(client)),
    )
    yield from _pools_of_redis_py(address, text, asked)
    with closing(redis.Redis.from_url(address)) as client:
        client.function_load(_as_function(text), replace=True)
    exchange = store.connections.exchange
    yield (
        "ours: the connections alone, FCALL",
        lambda client: exchange((b"FCALL", b"decide", 2, *asked(client))),
    )
    if find_spec(GLIDE):
        yield "valkey-glide-sync: EVALSHA", _glide(address, sha.decode(), asked)
    cache = RedisCache(address, {})
    yield (
        "django-ratelimit's questions to RedisCache",
        lambda client: (cache.add(client, 1, 60), cache.incr(client)),
    )


def _ours(store: Any, policy: Any, asked: Callable[[str], list[Any]]) -> Iterator[tuple[str, Ask]]:
    from ratelimits.engine.engine import Engine  # noqa: PLC0415 - it needs the settings

    engine, exchange, sha = Engine(store), store.connections.exchange, store._script.sha
    yield "**ours: a decision of the engine**", lambda client: engine.check_all([policy], [client])
    yield "ours: the connections alone", lambda client: exchange((b"EVALSHA", sha, 2, *asked(client)))


def _pools_of_redis_py(
    address: str, text: str, asked: Callable[[str], list[Any]]
) -> Iterator[tuple[str, Ask]]:
    parser_in_python = importlib.import_module("redis._parsers")._RESP2Parser
    for name, options in (
        ("hiredis, RESP2", {"protocol": 2}),
        ("hiredis, RESP3", {"protocol": 3}),
        ("its parser in Python, RESP2", {"protocol": 2, "parser_class": parser_in_python}),
    ):
        client = redis.Redis(connection_pool=redis.ConnectionPool.from_url(address, **options))
        yield f"redis-py's client with its pool: {name}", _evalsha(client, text, asked)


def _alone(connection: Any, sha: bytes, arguments: list[Any]) -> Any:
    connection.send_command(b"EVALSHA", sha, 2, *arguments, check_health=False)
    return connection.read_response()


def _evalsha(client: redis.Redis, text: str, asked: Callable[[str], list[Any]]) -> Callable[[str], Any]:
    sha = client.script_load(text)
    return lambda of: client.evalsha(sha, 2, *asked(of))


def _as_function(text: str) -> str:
    return (
        "#!lua name=bench\nlocal function decide(KEYS, ARGV)\n"
        + text
        + "\nend\nredis.register_function('decide', decide)\n"
    )


def _glide(address: str, sha: str, asked: Callable[[str], list[Any]]) -> Callable[[str], Any]:
    glide: Any = importlib.import_module(GLIDE)
    port = urlsplit(address).port
    client = glide.GlideClient.create(glide.GlideClientConfiguration([glide.NodeAddress("127.0.0.1", port)]))
    return lambda of: client.custom_command(["EVALSHA", sha, "2", *map(str, asked(of))])


def table(found: dict[str, list[Figures]], times: int, turns: int) -> Iterator[str]:
    yield f"{times} questions per turn, {turns} turns, medians (least to most). Python {sys.version.split()[0]}.\n"
    yield "| who asks | client, us | Valkey, us | both | wall p50, us | wall p99, us |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, turn in found.items():
        both = [each.client + each.store for each in turn]
        cells = [f"{median(getattr(each, part) for each in turn):.0f}" for part in ("client", "store")]
        cells += [f"{median(both):.0f} ({min(both):.0f} to {max(both):.0f})"]
        cells += [f"{median(getattr(each, part) for each in turn):.0f}" for part in ("p50", "p99")]
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
