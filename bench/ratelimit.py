"""``make bench-ratelimit``: the cost of a rate-limited request, beside other limiters and the baseline.

One trivial view with one middleware stack, one process per candidate, measured in turns; Valkey on loopback,
PostgreSQL with default settings. Environment: BENCH_TIMES (1000 requests per turn), BENCH_TURNS (5),
BENCH_LOAD_SECONDS (3), BENCH_RACES (3).
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import redis

from bench import process_clock, ratelimit_load
from bench.cluster import Cluster, running
from opsconsole import embedded

PACKAGES = ("django", "django-ratelimit", "limits", "redis", "django-smart-ratelimit", "djangorestframework")
LIMIT = 100


@dataclass
class Candidate:
    """One measured setup. ``limiter`` is the limiter of its processes; lists hold one figure per turn."""

    label: str
    limiter: str
    refused: bool = False
    away: bool = False
    cpu: list[float] = field(default_factory=list)
    stores: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    rate: float = 0.0
    admitted: list[int] = field(default_factory=list)

    @property
    def races(self) -> bool:
        """Tell whether to count admitted requests in a race; without the store each process admits its own share."""
        return not self.refused and not self.away and self.limiter != "none"


@dataclass(frozen=True)
class Stores:
    """Valkey, and PostgreSQL with the processes that serve its connections."""

    valkey: int
    postgres: int

    def seconds(self) -> float:
        """Return the processor time used so far."""
        return process_clock.seconds(self.valkey) + process_clock.seconds_with_children(self.postgres)


def candidates() -> list[Candidate]:
    return [
        Candidate("no limiter", "none"),
        Candidate("**ours, allowed**", "ours"),
        Candidate("**ours, refused**", "ours", refused=True),
        Candidate("**ours, store away**", "ours", away=True),
        Candidate("django-ratelimit on Django's RedisCache, allowed", "stock"),
        Candidate("the same, refused", "stock", refused=True),
        Candidate("django-smart-ratelimit, sliding window", "smart"),
        Candidate("DRF's throttle alone, on RedisCache", "drf"),
        Candidate("plain plan: count, insert, delete on PostgreSQL", "plain"),
    ]


def main() -> None:
    times, turns = _asked("BENCH_TIMES", 1_000), _asked("BENCH_TURNS", 5)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        running() as cluster,
        embedded.start_valkey(Path(folder)) as valkey,
    ):
        environ = _environ(cluster, on_loopback(valkey.url))
        _prepare(environ)
        found = candidates()
        _take_turns(found, environ, times, turns, Stores(valkey.pid, cluster.pid))
        _race(found, environ, _asked("BENCH_RACES", 3))
        _load(found, environ, _asked("BENCH_LOAD_SECONDS", 3))
        print(table(found, times, turns, cluster.version))


def _asked(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def on_loopback(unix: str) -> str:
    """Serve the same store on a port too, because not every client supports Unix sockets."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    with closing(redis.Redis.from_url(unix)) as client:
        client.config_set("bind", "127.0.0.1")
        client.config_set("port", port)
    return f"redis://127.0.0.1:{port}/0"


def _environ(cluster: Cluster, store: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bench.ratelimit_settings",
        "OPSCONSOLE_ENV": "development",
        "DATABASE_URL": cluster.create("limits"),
        "CACHE_URL": store,
        "BENCH_LIMITER": "none",
    }


def _for(candidate: Candidate, environ: Mapping[str, str]) -> dict[str, str]:
    own = {"BENCH_LIMITER": candidate.limiter}
    if candidate.away:
        own["OPSCONSOLE_RATE_LIMIT_STORE"] = "unix:///nowhere/at/all.sock"
    return {**environ, **own}


def _prepare(environ: Mapping[str, str]) -> None:
    _say("preparing the database")
    migrate = [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"]
    subprocess.run(migrate, env={**environ, "DJANGO_SETTINGS_MODULE": "opsconsole.settings"}, check=True)


@contextmanager
def _worker(environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.ratelimit_worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        if process.stdin:
            process.stdin.close()
        if process.wait(60):
            raise RuntimeError(f"the process of a limiter ended with {process.returncode}")


def _tell(process: subprocess.Popen[str], what: Any) -> Any:
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()
    if not (line := process.stdout.readline()):
        raise RuntimeError(f"the process of a limiter ended with {process.wait(60)}")
    return json.loads(line)


def _take_turns(
    found: list[Candidate], environ: Mapping[str, str], times: int, turns: int, stores: Stores
) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(_for(each, environ))) for each in found]
        for number in range(turns + 1):
            _say(f"turn {number} of {turns}" if number else "warming up")
            for each, worker in zip(found, workers, strict=True):
                before = stores.seconds()
                took = _tell(worker, {"times": times, "refused": each.refused})
                if number:
                    each.stores.append((stores.seconds() - before) / times * 1e6)
                    each.cpu.append(took["cpu"])
                    each.p50.append(took["p50"])
                    each.p99.append(took["p99"])


def _race(found: list[Candidate], environ: Mapping[str, str], races: int) -> None:
    for each in (each for each in found if each.races):
        _say(f"racing: {each.label}")
        with _worker(_for(each, environ)) as worker:
            each.admitted = [_tell(worker, "race") for _ in range(races)]


def _load(found: list[Candidate], environ: Mapping[str, str], seconds: int) -> None:
    for each in found:
        _say(f"under load: {each.label}")
        each.rate = ratelimit_load.requests_a_second(_for(each, environ), seconds, refused=each.refused)


def table(found: list[Candidate], times: int, turns: int, postgresql: str) -> str:
    none, ours = found[0], found[1]
    base, own = median(none.cpu), _whole(ours, none)
    lines = [
        f"{times} requests a turn, {turns} turns, medians of the turns; no limiter takes {base:.0f} us of processor time.",
        f"Python {platform.python_version()}, PostgreSQL {postgresql}, "
        + ", ".join(f"{package} {version(package)}" for package in PACKAGES)
        + ".",
        "",
        (
            "| limiter | CPU over no limiter, us: Django | with the stores | half of the turns | in times of ours | "
            "wall p50, us | wall p99, us | requests a second "
            "| admitted by 8 x 200, limit 100 |"
        ),
        "|---|---:|---:|---|---:|---:|---:|---:|---|",
        *(_row(each, none, own) for each in found),
        "",
        *_targets(found),
    ]
    return "\n".join(lines)


def _turns(candidate: Candidate, none: Candidate, *, stores: bool) -> list[float]:
    """Return what each turn took beyond the view without a limiter in the same turn, so that noise affects both alike."""
    cpu = [cpu - base for cpu, base in zip(candidate.cpu, none.cpu, strict=True)]
    if not stores:
        return cpu
    return [
        own + max(0.0, store - base)
        for own, store, base in zip(cpu, candidate.stores, none.stores, strict=True)
    ]


def _overhead(candidate: Candidate, none: Candidate) -> float:
    """Return the overhead in Django's process."""
    return median(_turns(candidate, none, stores=False))


def _whole(candidate: Candidate, none: Candidate) -> float:
    """Return the total cost, including the time of the stores."""
    return median(_turns(candidate, none, stores=True))


def _half(figures: list[float], shown: str) -> str:
    """Return between which figures the middle half of them lies."""
    low, _, high = quantiles(figures, n=4) if len(figures) > 1 else figures * 3
    return f"{low:{shown}} to {high:{shown}}"


def _row(each: Candidate, none: Candidate, own: float) -> str:
    over, whole = _overhead(each, none), _whole(each, none)
    spread = _half(_turns(each, none, stores=True), ".0f")
    cells = (
        ["", "", "", ""] if each is none else [f"{over:.0f}", f"{whole:.0f}", spread, f"{whole / own:.2f}"]
    )
    cells += [f"{median(each.p50):.0f}", f"{median(each.p99):.0f}", f"{each.rate:.0f}"]
    return f"| {each.label} | {' | '.join(cells)} | {', '.join(map(str, each.admitted))} |"


def _targets(found: list[Candidate]) -> list[str]:
    none, ours, refused, _, stock, *_, plain = found
    exact = set(ours.admitted) == {LIMIT}
    cheaper = _overhead(refused, none) / _overhead(ours, none)
    return [
        f"- exactly {LIMIT} admitted in each of {len(ours.admitted)} races: {_met(exact)}",
        f"- a refused request cheaper than an allowed one: {cheaper:.2f} of it, {_met(cheaper < 1)}",
        *(_target(stock, "django-ratelimit on RedisCache", ours, none, wanted=2.5, aim=4)),
        *(_target(plain, "the plain plan", ours, none, wanted=6, aim=10)),
    ]


def _target(
    other: Candidate, name: str, ours: Candidate, none: Candidate, *, wanted: float, aim: float
) -> Iterator[str]:
    for what, stores in (("in Django's process", False), ("with the stores", True)):
        theirs, own = (_turns(each, none, stores=stores) for each in (other, ours))
        times = median(theirs) / median(own)
        each_turn = _half([one / another for one, another in zip(theirs, own, strict=True)], ".1f")
        yield (
            f"- at least {wanted} times less overhead than {name} (aim: {aim}), {what}: {times:.1f} times "
            f"({each_turn} in half of the turns), {_met(times >= wanted)}; the aim {_met(times >= aim)}"
        )


def _met(met: bool) -> str:  # noqa: FBT001 - a word for it
    return "met" if met else "MISSED"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
