"""Attacks with slow clients: any number of unfinished requests, with and without the proxy, stops nobody else."""

from __future__ import annotations

import http.client
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest

from tests.field.console import NAME, PASSWORD, Console
from tests.field.proxy import Proxy
from tests.field.visitor import Visitor
from tests.responses import whole_response
from tests.waiting import wait_until

MANY = 200
# Each of them holds as much as the kernel's buffers take.
READERS = 40
TRIES = 8
# Of both processes together.
THREADS = 8
# Less than the patience of the server with those who send or read nothing (20 s).
LONGEST_SECONDS = 15
FORM = (
    b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 1000\r\n\r\nusername="
)
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
PAGE = b"GET /admin/ HTTP/1.1\r\nHost: localhost\r\nCookie: __Host-sessionid=" + b"x" * 32 + b"\r\n\r\n"
STATES = {
    "nothing": b"",
    "half a line": PROBE[:9],
    "half a head": PROBE[:-4],
    "a slow body": FORM,
    "idle": PROBE,
}

Connect = Callable[[], socket.socket]


@pytest.fixture
def proxy(console: Console) -> Iterator[Proxy]:
    with console.served() as served:
        yield served


def test_two_hundred_slow_clients_stop_nobody(console: Console, proxy: Proxy) -> None:
    with Visitor(proxy) as visitor:
        assert visitor.log_in(NAME, PASSWORD).status == 302
        script = longest_script(visitor)
        doors = {"the console": lambda: plain(proxy), "nginx": lambda: through_nginx(proxy)}
        for door, connect in doors.items():
            for state, sent in STATES.items():
                with slow_clients(connect, sent, is_trickling=state == "a slow body"):
                    assert_all_is_well(proxy, visitor, f"{state}, at {door}")
            with slow_readers(connect, script):
                assert_all_is_well(proxy, visitor, f"slow readers, at {door}")
            with slow_pages(console, connect):
                assert shortest(lambda: probe(proxy)) < 1, f"slow pages, at {door}"
            see_jobs(visitor)


def assert_all_is_well(proxy: Proxy, visitor: Visitor, meanwhile: str) -> None:
    """The probe answers within a second, also on a new connection, and so does a page of somebody who is signed in."""
    assert shortest(lambda: probe(proxy)) < 1, meanwhile
    assert shortest(lambda: see_jobs(visitor)) < 5, meanwhile


def probe(proxy: Proxy) -> None:
    client = http.client.HTTPConnection("127.0.0.1", proxy.console, timeout=LONGEST_SECONDS)
    client.request("GET", "/healthz")
    assert client.getresponse().read() == b"ok"
    client.close()


def see_jobs(visitor: Visitor) -> None:
    page = visitor.get("/admin/jobs/job/")
    assert page.status == 200 and "Log out" in page.text


def shortest(ask: Callable[[], None]) -> float:
    """Ask until an answer is quick, at most TRIES times, and return how long the quickest took.

    Where slow clients were in the way, each try would wait for them. On a machine that has no time, some do.
    """
    taken: list[float] = []
    while len(taken) < TRIES and min(taken, default=1) >= 1:
        began = time.monotonic()
        ask()
        taken.append(time.monotonic() - began)
    return min(taken)


@contextmanager
def slow_clients(connect: Connect, sent: bytes, *, is_trickling: bool) -> Iterator[None]:
    stop = threading.Event()
    with ExitStack() as opened:
        clients = [opened.enter_context(connect()) for _ in range(MANY)]
        for client in clients:
            client.sendall(sent)
        if sent == PROBE:
            assert all(whole_response(client).body == b"ok" for client in clients)
        trickle = threading.Thread(target=send_bytes, args=(clients if is_trickling else [], stop))
        trickle.start()
        try:
            yield
        finally:
            stop.set()
            trickle.join()


def send_bytes(clients: list[socket.socket], stop: threading.Event) -> None:
    """Send a byte per second and client, until the server has lost its patience."""
    with suppress(OSError):
        while not stop.wait(1):
            for client in clients:
                client.send(b"x")


@contextmanager
def slow_readers(connect: Connect, path: str) -> Iterator[None]:
    """Ask for more than the buffers of the kernel hold, and read nothing."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with ExitStack() as opened:
        clients = [opened.enter_context(connect()) for _ in range(READERS)]
        for client in clients:
            client.sendall(request * 30)
        assert select.select(clients, [], [], 30)[0]
        yield


@contextmanager
def slow_pages(console: Console, connect: Connect) -> Iterator[None]:
    """Ask for pages that wait, all of them, because a stranger's transaction has locked the table of sessions."""
    database = console.database
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(**database.server, dbname=database.name) as stranger, ExitStack() as opened:
        stranger.execute("LOCK TABLE opsconsole.django_session")
        for _ in range(MANY):
            opened.enter_context(connect()).sendall(PAGE)
        wait_until(lambda: database.value(waiting) >= THREADS, timeout=30)
        yield


def plain(proxy: Proxy) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(30)
    client.connect(("127.0.0.1", proxy.console))
    return client


def through_nginx(proxy: Proxy) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    return proxy.context().wrap_socket(client, server_hostname="localhost")


def longest_script(visitor: Visitor) -> str:
    """Return the address of the largest script of the page that everybody sees."""
    page = visitor.get("/admin/").text
    paths: list[str] = re.findall(r'(?:src|href)="(/static/[^"]+\.(?:js|css))"', page)
    return max(paths, key=lambda path: len(visitor.get(path).body))
