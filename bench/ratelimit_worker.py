"""A process with one limiter: it reads one JSON command per line and answers with one JSON line."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from statistics import quantiles
from typing import Any, TypeVar

from bench import failures

LIMIT = 100
# Each client uses half of its limit.
ASKED_BY_ONE = LIMIT // 2
RACERS, EACH = 8, 200
# A refused client is admitted again when its fixed window turns. Three clients whose windows turn one after the other are no chance.
TRIES = 3
Measured = TypeVar("Measured")
_numbers = count(os.getpid() % 4_096 << 12)


class WindowTurned(Exception):
    """A client that had been refused was admitted while its refusals were measured."""


def address() -> str:
    """Return an address that was not used before."""
    number = next(_numbers) % 2**24
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def asker() -> Callable[[str], int]:
    """Return a function that sends Django one request from an address and returns the status."""
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415

    application = get_wsgi_application()
    told: list[str] = []

    def start(status: str, _headers: object, _error: object = None, /) -> Callable[[bytes], object]:
        told.append(status)
        return bytes

    def ask(client: str) -> int:
        response = application(_environ(client), start)
        b"".join(response)
        response.close()
        return int(told.pop()[:3])

    return ask


def _environ(client: str) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": client,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "wsgi.multiprocess": False,
        "wsgi.multithread": False,
    }


def with_another_client(measure: Callable[[], Measured]) -> Measured:
    """Measure, and measure again where the window of the refused client turned."""
    for _ in range(TRIES - 1):
        with suppress(WindowTurned):
            return measure()
    return measure()


def measure(ask: Callable[[str], int], times: int, *, refused: bool) -> dict[str, float]:
    """Return microseconds per request: processor time of this process, and p50 and p99 of wall time."""
    from django.db import connection  # noqa: PLC0415 - it needs the settings

    # Django looks at an open connection before and after each request. Every application has one, whatever limits its requests.
    connection.ensure_connection()
    clients = [address() for _ in range(times // ASKED_BY_ONE + 1)]
    if refused:
        clients = clients[:1] * len(clients)
        for _ in range(LIMIT + 10):
            ask(clients[0])
    walls, wanted = [], 429 if refused else 200
    began = time.process_time()
    for number in range(times):
        before = time.perf_counter()
        status = ask(clients[number // ASKED_BY_ONE])
        walls.append(time.perf_counter() - before)
        if status != wanted:
            raise WindowTurned(number, status) if refused else ValueError((number, status))
    cpu = (time.process_time() - began) / times
    cuts = quantiles(walls, n=100)
    return {"cpu": cpu * 1e6, "p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6}


def race(client: str) -> int:
    """Return how many requests of one client 8 processes admit when each sends 200."""
    context = multiprocessing.get_context("fork")
    barrier, admitted = context.Barrier(RACERS), context.Queue()
    racers = [context.Process(target=_run, args=(client, barrier, admitted)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    total = sum(admitted.get(timeout=120) for _ in racers)
    failures.join(racers, 60)
    return int(total)


def _run(client: str, barrier: Any, admitted: Any) -> None:
    ask = asker()
    barrier.wait(60)
    admitted.put(sum(ask(client) == 200 for _ in range(EACH)))


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.ratelimit_settings"
    ask = asker()
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        what = json.loads(line)
        # A process that races must not have sent requests before: its forks would share the open connections.
        if what == "race":
            answer: Any = race(address())
        else:
            take = partial(measure, ask, what["times"], refused=what["refused"])
            answer = with_another_client(take)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
