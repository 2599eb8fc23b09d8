"""``make bench-beats``: what heartbeats cost the server and the workers, and what they leave in the table.

Each worker runs a job and sends as many heartbeats as an hour has, one after the other over a few connections: faster than
in an hour, with autovacuum as it is. Beside it, the whole statement, which also knows what to do where something changed, and
a bare UPDATE of one column over the same driver; and ours through pgbouncer in transaction mode, where that is installed, as
text and with plans that its sessions keep. Processor time is that of PostgreSQL's processes and of the clients.
Environment: BENCH_WORKERS (10000), BENCH_BEATS (240 per worker), BENCH_CLIENTS (2), BENCH_INTERVAL (15 seconds), BENCH_KINDS
(all, or some of bare, whole, ours, text, plans with commas between: the whole statement takes many times as long as the rest).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg

from bench.cluster import Cluster, running
from tests.field import installed, pooler

BARE, WHOLE, OURS = "a bare UPDATE", "the whole statement", "**ours**"
POOLED_TEXT = "ours through pgbouncer, as text"
POOLED_PLANS = "**ours through pgbouncer, OPSCONSOLE_POOLER_KEEPS_PLANS**"
KINDS = {"bare": BARE, "whole": WHOLE, "ours": OURS, "text": POOLED_TEXT, "plans": POOLED_PLANS}
FILL = """
INSERT INTO jobs (id, customer_id, package_size, status, run_epoch, claimed_epoch, worker_id, started_at)
SELECT md5('job ' || n)::uuid, 'customer-' || n % 5000, 50, 'in_progress', 1, 1, 'worker-' || n, now()
  FROM generate_series(1, {workers}) AS n
"""
BARE_BEAT = "UPDATE worker_heartbeats SET last_heartbeat = now() WHERE worker_id = %(worker)s"
TABLE = """
SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup, autovacuum_count, pg_relation_size(relid), pg_indexes_size(relid)
  FROM pg_stat_user_tables WHERE relname = 'worker_heartbeats'
"""


@dataclass(frozen=True)
class Table:
    """What the server counts of the table of heartbeats."""

    updates: int
    hot: int
    dead: int
    vacuums: int
    bytes: int
    index_bytes: int


def main() -> None:
    workers, beats = _asked("BENCH_WORKERS", 10_000), _asked("BENCH_BEATS", 240)
    clients, interval = _asked("BENCH_CLIENTS", 2), _asked("BENCH_INTERVAL", 15)
    kinds = _kinds(os.environ.get("BENCH_KINDS", ""), pooler_found=_pooler_found())
    with running() as cluster:
        print(
            f"{workers:,} workers, {beats} heartbeats each, {clients} clients, PostgreSQL {cluster.version}\n"
        )
        print(
            f"| heartbeats | server, us each | clients, us each | cores at one per {interval} s | HOT | dead rows | "
            "table, kB: first | last | indexes, kB | vacuums |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
        )
        for kind in kinds:
            print(_row(kind, cluster, workers, beats, clients, interval), flush=True)


def _pooler_found() -> bool:
    return shutil.which("pgbouncer", path=installed.FOLDERS) is not None


def _kinds(asked: str, *, pooler_found: bool) -> list[str]:
    """Return the rows of the table: those that were asked for or, without a word, all that can be measured here."""
    pooled = {"text", "plans"}
    possible = [name for name in KINDS if pooler_found or name not in pooled]
    names = [name.strip() for name in asked.split(",")] if asked.strip() else possible
    if unknown := [name for name in names if name not in possible]:
        needs = " (text and plans need pgbouncer)" if pooled.intersection(unknown) else ""
        sys.exit(
            f"BENCH_KINDS: {', '.join(unknown)} can't be measured. Choose from {', '.join(possible)}{needs}."
        )
    return [KINDS[name] for name in names]


def _row(kind: str, cluster: Cluster, workers: int, beats: int, clients: int, interval: int) -> str:
    url = cluster.create("beats")
    environ = {
        **os.environ,
        "OPSCONSOLE_ENV": "development",
        "DATABASE_URL": url,
        "CACHE_URL": "redis://none.invalid",
    }
    migrate = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"]
    subprocess.run(migrate, env={**environ, "DJANGO_SETTINGS_MODULE": "opsconsole.settings"}, check=True)
    with psycopg.connect(url, autocommit=True) as observer:
        observer.execute(FILL.format(workers=workers))
        observer.execute("VACUUM (ANALYZE)")
        # The row of each worker, and its first heartbeat about this job.
        _turn(OURS, environ, workers, 2, clients)
        observer.execute("VACUUM (ANALYZE) worker_heartbeats")
        first = _table(observer)
        with _way(kind, url) as way:
            before = _server_seconds(cluster.pid)
            spent = _turn(kind, environ | {"DATABASE_URL": way}, workers, beats, clients)
            server = _server_seconds(cluster.pid) - before
        last = _table(observer)
    sent = workers * beats
    updates = last.updates - first.updates
    assert updates == sent, (updates, sent)
    cells = [
        f"{server / sent * 1e6:.0f}",
        f"{spent / sent * 1e6:.0f}",
        f"{server / sent * workers / interval:.2f}",
        f"{(last.hot - first.hot) / updates:.1%}",
        f"{last.dead:,}",
        f"{first.bytes / 1024:,.0f}",
        f"{last.bytes / 1024:,.0f}",
        f"{last.index_bytes / 1024:,.0f}",
        str(last.vacuums - first.vacuums),
    ]
    return f"| {kind} | {' | '.join(cells)} |"


@contextmanager
def _way(kind: str, url: str) -> Iterator[str]:
    """Yield the URL that the workers of this kind use."""
    if kind not in {POOLED_TEXT, POOLED_PLANS}:
        yield url
        return
    [server] = parse_qs(urlsplit(url).query)["host"]
    role, database = str(urlsplit(url).username), urlsplit(url).path.strip("/")
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        pooler.pgbouncer(Path(folder), server=server, roles=[role]) as port,
    ):
        yield pooler.url(port, role, database)


def _turn(kind: str, environ: dict[str, str], workers: int, beats: int, clients: int) -> float:
    """Send the heartbeats. Return the processor time of the clients."""
    command = [sys.executable, "-m", "bench.beats"]
    share = [(at * workers // clients, (at + 1) * workers // clients) for at in range(clients)]
    children = [
        subprocess.Popen(
            [*command, json.dumps({"kind": kind, "first": first + 1, "last": last, "beats": beats})],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first, last in share
    ]
    spent = 0.0
    for child in children:
        answer, _ = child.communicate()
        assert child.returncode == 0
        spent += float(answer)
    return spent


def _send(kind: str, first: int, last: int, beats: int) -> None:
    """Be some of the workers."""
    import hashlib  # noqa: PLC0415 - of the child process alone
    from uuid import UUID  # noqa: PLC0415

    from opsconsole_worker import settings  # noqa: PLC0415
    from opsconsole_worker.database import direct, door  # noqa: PLC0415
    from opsconsole_worker.runs import heartbeats  # noqa: PLC0415

    url, schema = os.environ["DATABASE_URL"], settings.current().schema
    door.use(direct.DirectDatabase(url, schema, shares_plans=kind == POOLED_PLANS))
    crew: list[tuple[Any, UUID]] = [
        (
            heartbeats.Worker(f"worker-{number}", start=f"start-{number}"),
            UUID(hashlib.md5(f"job {number}".encode(), usedforsecurity=False).hexdigest()),
        )
        for number in range(first, last + 1)
    ]
    door.run("SELECT 1", {})
    began = time.process_time()
    for _ in range(beats):
        for worker, job_id in crew:
            if kind == BARE:
                door.run(BARE_BEAT, {"worker": worker.id})
            elif kind == WHOLE:
                assert heartbeats.whole_beat(worker, job_id, 1) is heartbeats.Verdict.GO_ON
            else:
                assert heartbeats.beat(worker, job_id, 1) is heartbeats.Verdict.GO_ON
    print(time.process_time() - began)


def _table(observer: psycopg.Connection[Any]) -> Table:
    observer.execute("SELECT pg_stat_clear_snapshot()")
    # The counters of a session arrive when it ends, or after a second.
    time.sleep(1.5)
    row = observer.execute(TABLE).fetchone()
    assert row
    return Table(*row)


def _server_seconds(pid: int) -> float:
    """Return the processor time of the server: what its living processes used, and those that ended."""
    server = psutil.Process(pid)
    alive = [server, *server.children()]
    ended = sum(server.cpu_times()[2:4])
    return float(ended + sum(sum(each.cpu_times()[:2]) for each in alive))


def _asked(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _send(**json.loads(sys.argv[1]))
    else:
        main()
