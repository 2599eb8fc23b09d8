"""Slow clients, many clients, and kept connections."""

from __future__ import annotations

import http.client
import select
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from opsconsole.serving import connections
from opsconsole.serving.connections import PATIENCE_SECONDS
from tests.opsconsole.serving.application import BIG, released
from tests.opsconsole.serving.conftest import MOST, THREADS, Served, rest_of
from tests.responses import whole_response
from tests.waiting import wait_until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PROBE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_SECONDS", 0.4)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.4)


def answered(served: Served) -> bool:
    """Tell whether another client gets its answer while the others could still wait for long."""
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_SECONDS / 2)
    try:
        client.request("GET", "/")
        return client.getresponse().read() != b""
    except OSError:
        return False
    finally:
        client.close()


@pytest.mark.usefixtures("_hurried")
@pytest.mark.parametrize(
    "sent",
    [b"", GET[:9], GET[:-4], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", GET],
    ids=["nothing", "line", "head", "body", "idle"],
)
def test_client_that_does_not_go_on_is_cut_off(served: Served, sent: bytes) -> None:
    with served.connect() as client:
        began = time.monotonic()
        client.sendall(sent)
        received = rest_of(client)
        assert 0.3 < time.monotonic() - began < PATIENCE_SECONDS
    assert received.startswith(b"HTTP/1.1 200") is (sent == GET)


@pytest.mark.usefixtures("_hurried")
def test_client_that_sends_a_byte_now_and_then_is_cut_off(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        began = time.monotonic()
        while not select.select([client], [], [], 0.1)[0]:
            client.send(b"x")
        assert time.monotonic() - began < PATIENCE_SECONDS
        assert rest_of_broken(client) == b""


@pytest.mark.usefixtures("_hurried")
def test_client_that_reads_nothing_is_cut_off(served: Served) -> None:
    with slow_reader(served) as client:
        wait_until(lambda: served.server.active_channels, timeout=20, what="the connection")
        wait_until(lambda: not served.server.active_channels, timeout=20, what="the end of the connection")
        client.settimeout(10)
        assert len(rest_of_broken(client)) < len(BIG)


def test_steady_client_is_not_cut_off(served: Served) -> None:
    """The rate is that of the last seconds, not of the whole request."""
    enough = int(connections.LOWEST_RATE * (PATIENCE_SECONDS + 2))
    with served.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        [connection] = wait_until(lambda: list(served.server.active_channels.values()))
        now = time.monotonic()
        for _ in range(3):
            client.sendall(b"x" * enough)
            wait_until(lambda: connection.moved >= enough)
            now += PATIENCE_SECONDS + 1
            assert not connection.is_overdue(now)
        client.sendall(b"x" * (enough // 2))
        wait_until(lambda: connection.moved >= enough // 2)
        assert connection.is_overdue(now + PATIENCE_SECONDS + 1)


def test_readers_of_large_responses_occupy_no_thread(served: Served) -> None:
    """Each asks for several large responses, and reads nothing."""
    readers = [slow_reader(served, times=4) for _ in range(THREADS + 2)]
    wait_until(lambda: len(served.server.postponed) == len(readers), timeout=20, what="postponed requests")
    assert answered(served)
    for client in readers[1:]:
        client.close()
    # All the same, whoever reads gets everything, in order.
    received = 0
    while received < 4 * len(BIG):
        piece = readers[0].recv(1_000_000)
        assert piece, "the connection was closed too early"
        received += len(piece)
    readers[0].close()


def test_new_connection_replaces_one_that_waits(served: Served) -> None:
    """A stranger who opens more connections than the server keeps loses them; nobody else waits."""
    idle = [served.connect() for _ in range(MOST)]
    assert answered(served)
    more = [served.connect() for _ in range(MOST)]
    assert answered(served)
    assert len(served.server.active_channels) <= MOST
    for client in idle + more:
        client.close()


def test_stranger_with_a_network_of_ipv6_addresses_loses_the_own_connections(served: Served) -> None:
    clients = [served.connect() for _ in range(MOST)]
    wait_until(lambda: len(served.server.active_channels) == MOST, timeout=20, what="connections")
    for number, kept in enumerate(list(served.server.active_channels.values())):
        kept.addr = ("192.0.2.1", 1) if number < 3 else (f"2001:db8::{number}", 1)
    clients.append(served.connect())
    assert answered(served)
    left = [kept.addr[0] for kept in list(served.server.active_channels.values())]
    assert left.count("192.0.2.1") == 3
    for client in clients:
        client.close()


def test_requests_in_work_are_not_given_up_for_new_connections(served: Served) -> None:
    busy = [served.connect() for _ in range(MOST)]
    for client in busy:
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    wait_until(
        lambda: in_work(served) == MOST,
        timeout=20,
        what="requests in work",
    )
    late = served.connect()
    late.sendall(GET)
    released.set()
    assert all(rest_of(client).startswith(b"HTTP/1.1 200") for client in busy)
    assert whole_response(late).status == 200
    for client in [*busy, late]:
        client.close()


def test_probe_is_answered_while_slow_requests_occupy_all_threads(served: Served) -> None:
    """Also where its connection then asks for a slow page: that waits for a thread as all others do."""
    busy = [served.connect() for _ in range(THREADS + 1)]
    slow = b"GET /held?%s HTTP/1.1\r\nHost: x\r\n\r\n"
    with TemporaryDirectory() as folder:
        release = Path(folder) / "released"
        for client in busy:
            client.sendall(PROBE + slow % bytes(release))
            assert whole_response(client).status == 200
        wait_until(lambda: in_work(served) == len(busy))
        for _ in range(2):
            with served.connect() as prober:
                prober.sendall(PROBE)
                assert whole_response(prober).status == 200
        # The server may still be ending what it answered last.
        wait_until(lambda: in_work(served) == len(busy))
        release.touch()
        assert [whole_response(client).status for client in busy] == [200] * len(busy)
    for client in busy:
        client.close()


def test_request_that_waited_too_long_for_a_thread_is_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends slow requests and leaves would otherwise stop the console for as long as all of them take."""
    monkeypatch.setattr(connections, "LONGEST_WAIT_SECONDS", 0.0)
    with served.connect() as client:
        client.sendall(GET)
        refused = whole_response(client)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
    assert b"Nothing was done" in refused.body
    with served.connect() as client:
        monkeypatch.setattr(connections, "LONGEST_WAIT_SECONDS", 20.0)
        client.sendall(GET)
        assert whole_response(client).status == 200


def in_work(served: Served) -> int:
    return sum(bool(each.requests) for each in list(served.server.active_channels.values()))


def test_responses_to_pipelined_requests_come_in_order(served: Served) -> None:
    paths = (b"/a", b"/big", b"/b")
    requests = [b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in paths]

    received = served.ask(*requests, b"GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    places = [received.index(b'"PATH_INFO": "/%s"' % name) for name in (b"a", b"b", b"c")]
    assert places == sorted(places)
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert places[0] < received.index(BIG) < places[1]


@pytest.mark.parametrize("path", ["/", "/big"])
def test_response_to_head_has_no_body_and_the_connection_is_kept(served: Served, path: str) -> None:
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    client.connect()
    kept = client.sock
    for _ in range(2):
        client.request("HEAD", path)
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 0
    client.request("GET", "/")
    assert client.getresponse().read().endswith(b"}")
    assert client.sock is kept
    client.close()


def slow_reader(served: Served, times: int = 1) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.settimeout(10)
    client.connect(("127.0.0.1", served.port))
    client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * times)
    return client


def rest_of_broken(client: socket.socket) -> bytes:
    received = b""
    try:
        while piece := client.recv(1_000_000):
            received += piece
    except ConnectionResetError:
        pass
    return received
