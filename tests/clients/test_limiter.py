"""The limiter of the TypeScript package against the real server: exact, bounded while the console hangs, not to be fooled."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import presets
from tests.clients.node import HERE, PACKAGE, Service, make, service
from tests.clients.relay import Relay, relay
from tests.field.installed import installed
from tests.keys import key
from tests.serving import gunicorn
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT, CALLS = 100, 150
# Far beyond what an answer takes on a slow machine, so that only a console that hangs exceeds it.
PATIENT = 20_000
FORGED = [
    {"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}"}
    for number in range(CALLS)
]


@pytest.fixture(autouse=True)
def package() -> None:
    make("clients")


@pytest.fixture
def console(limiter: None, tmp_path: Path) -> Iterator[Relay]:
    """Serve the console behind a relay that counts what it is asked."""
    presets.write()
    pid_file = tmp_path / "gunicorn.pid"
    with gunicorn(tmp_path, "--pid", str(pid_file)) as port, relay(port) as counted:
        yield counted


@pytest.fixture
def secret(limiter: None) -> str:
    return key("shop", ["limits:check"])[1]


@contextmanager
def limited(
    folder: Path, address: str, secret: str, *, source: str = "socket", **options: Any
) -> Iterator[Service]:
    """Run a service whose requests are limited by the console at this address."""
    environ = {
        "PACKAGE": str(PACKAGE / "dist" / "index.js"),
        "OPTIONS": json.dumps(options),
        "OPSCONSOLE_URL": address,
        "OPSCONSOLE_KEY": secret,
        "OPSCONSOLE_CLIENT_ADDRESS": source,
    }
    with service(folder, [installed("nodejs"), str(HERE / "service.mjs")], **environ) as running:
        yield running


def statuses(
    running: Service, calls: list[dict[str, str]], *, address: str = "127.0.0.1", threads: int = 8
) -> Counter[int]:
    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(lambda headers: running.get(address=address, **headers).status, calls))


def test_limit_is_exact_whatever_clients_send(console: Relay, secret: str, tmp_path: Path) -> None:
    """Each address of this network is a client of its own. All share one server, because it takes seconds to start."""
    with (
        limited(tmp_path, console.address, secret, budgetMs=PATIENT) as one,
        limited(tmp_path, console.address, secret, budgetMs=PATIENT) as two,
        limited(tmp_path, console.address, secret, source="proxies:1", budgetMs=PATIENT) as behind_proxy,
        limited(tmp_path, console.address, "ock_wrong", budgetMs=PATIENT) as stranger,
    ):
        a_refused_client_asks_once_a_second(one, console)
        # A header that a client sends is no address where clients connect themselves.
        assert statuses(one, FORGED, address="127.0.0.2") == {200: LIMIT, 429: CALLS - LIMIT}
        # Behind a proxy, what counts is what the proxy adds on the right.
        behind = [{"X-Forwarded-For": f"{each['X-Forwarded-For']}, 203.0.113.7"} for each in FORGED]
        assert statuses(behind_proxy, behind) == {200: LIMIT, 429: CALLS - LIMIT}
        assert behind_proxy.get(**{"X-Forwarded-For": "203.0.113.8"}).status == 200
        # Processes that share no memory share the limit.
        passed = [statuses(each, [{}] * (CALLS // 2), address="127.0.0.3") for each in (one, two)]
        assert passed[0] + passed[1] == {200: LIMIT, 429: CALLS - LIMIT}
        # Without a valid key, a process counts by itself, and says so.
        assert statuses(stranger, [{}] * CALLS) == {200: LIMIT, 429: CALLS - LIMIT}
        assert "status 401" in stranger.log.read_text()


def a_refused_client_asks_once_a_second(running: Service, console: Relay) -> None:
    first = running.get()
    assert (first.status, first.text) == (200, "the work was done")
    assert first.headers["RateLimit"].startswith('"standard";r=99;t=')
    assert statuses(running, [{}] * (CALLS - 1)) == {200: LIMIT - 1, 429: CALLS - LIMIT}
    refused, began, asked = running.get(), time.monotonic(), console.requests
    assert refused.json["message"] == "Rate limit exceeded. Max 100 requests per 60s"
    assert refused.headers["RateLimit-Policy"] == '"standard";q=100;w=60'
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["Content-Type"] == "application/problem+json"
    while time.monotonic() < began + 2.5:
        assert statuses(running, [{}] * 20) == {429: 20}
    assert console.requests - asked <= int(time.monotonic() - began) + 1


def test_console_that_never_answers_makes_one_request_per_second_wait(secret: str, tmp_path: Path) -> None:
    """The socket accepts connections and is never read, as that of a host which hangs."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as hung:
        address = f"http://127.0.0.1:{hung.getsockname()[1]}"
        with limited(tmp_path, address, secret, budgetMs=2_000) as running:
            assert_few_wait(running, hang_began=time.monotonic())


def test_stopped_console_makes_one_request_per_second_wait_and_counts_when_it_goes_on(
    console: Relay, secret: str, tmp_path: Path
) -> None:
    with limited(tmp_path, console.address, secret, budgetMs=2_000) as running:
        assert running.get().status == 200
        master = psutil.Process(int((tmp_path / "gunicorn.pid").read_text()))
        processes = [master, *master.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        try:
            asked, began = console.requests, time.monotonic()
            assert_few_wait(running, hang_began=began, used=1)
            assert console.requests - asked <= int(time.monotonic() - began) + 1
        finally:
            for process in reversed(processes):
                process.send_signal(signal.SIGCONT)

        def answers_again() -> bool:
            running.get()
            return "the console answers again" in running.log.read_text()

        wait_until(answers_again, timeout=60)


def assert_few_wait(running: Service, *, hang_began: float, used: int = 0) -> None:
    """Make requests of one client: nobody but the probes waits, and no more pass than the limit."""
    waited: list[float] = []

    def timed(_: int) -> int:
        began = time.monotonic()
        status = running.get().status
        waited.append(time.monotonic() - began)
        return status

    # Those that came before the console was known to hang.
    passed = Counter([timed(0)])
    assert waited[0] >= 1
    with ThreadPoolExecutor(4) as pool:
        passed += Counter(pool.map(timed, range(CALLS - 1 - used)))
    slow = [each for each in waited if each >= 1]
    assert len(slow) <= int(time.monotonic() - hang_began) + 1
    assert len(slow) <= len(waited) // 10
    assert passed == {200: LIMIT - used, 429: CALLS - LIMIT}
