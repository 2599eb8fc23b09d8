"""How long the engine waits for a store that does not read or does not answer, whoever keeps the time of its socket."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.connection import Connection
from redis.exceptions import TimeoutError as StoreTimeoutError

from opsconsole.kit.whole_answers import LimitedParser
from ratelimits.engine.store_client import Store
from tests.fakes.store import Command, OddStore, answering, greet

SECONDS = 0.2
# A busy machine takes its time, and a second question would take as long again.
PATIENCE = 3.0
ANSWER = b"$2\r\nok\r\n"


@contextmanager
def silent_after(answers: int) -> Iterator[OddStore]:
    """A server that answers so many questions, and reads nothing more once it was asked another one."""
    left, released = iter(range(answers)), threading.Event()

    def answer(command: Command) -> bytes:
        if (greeting := greet(command)) is not None:
            return greeting
        if next(left, None) is None:
            released.wait(PATIENCE * 4)
        return ANSWER

    with answering(answer) as store:
        try:
            yield store
        finally:
            released.set()


@pytest.mark.parametrize("answers", [0, 1], ids=["on a new connection", "on one that was used"])
def test_silent_store_is_asked_once_and_for_one_timeout(answers: int) -> None:
    with silent_after(answers) as silent:
        connections = Store(silent.url, timeout=SECONDS).connections
        for _ in range(answers):
            assert connections.exchange(("GET", "before")) == [b"ok"]
        began = time.monotonic()
        with pytest.raises(StoreTimeoutError, match="reading"):
            connections.exchange(("GET", "asked"))
        took = time.monotonic() - began

    assert SECONDS / 2 < took < PATIENCE
    assert silent.asked.count([b"GET", b"asked"]) == 1


@pytest.mark.parametrize("answers", [0, 1], ids=["on a new connection", "on one that was used"])
def test_store_that_reads_no_more_is_not_sent_the_rest_a_second_time(answers: int) -> None:
    with silent_after(answers) as silent:
        connections = Store(silent.url, timeout=SECONDS).connections
        for _ in range(answers):
            connections.exchange(("GET", "before"))
        began = time.monotonic()
        with pytest.raises(StoreTimeoutError, match="writing"):
            connections.exchange(("GET", "asked"), ("SET", "long", b"x" * 30_000_000))
        took = time.monotonic() - began

    assert SECONDS / 2 < took < PATIENCE
    assert silent.asked.count([b"GET", b"asked"]) == 1


def test_connection_that_was_too_slow_is_not_used_again() -> None:
    """Its answer may still come, and would be taken for that of the next question."""
    with silent_after(1) as silent:
        connections = Store(silent.url, timeout=SECONDS).connections
        connections.exchange(("GET", "before"))
        with pytest.raises(StoreTimeoutError):
            connections.exchange(("GET", "asked"))
        assert not connections._idle


@contextmanager
def parser_of(ours: socket.socket, seconds: float = SECONDS) -> Iterator[LimitedParser]:
    """The parser of a connection to a server at the other end of a socket."""
    connection: Any = Connection(parser_class=LimitedParser, protocol=2, socket_timeout=seconds)  # type: ignore[no-untyped-call]  # redis-py's
    ours.settimeout(seconds)
    connection._sock = ours
    connection._parser.on_connect(connection)
    connection._parser.leave_time_to_the_system()
    yield connection._parser
    connection.disconnect()


def test_system_keeps_the_time_of_a_plain_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, parser_of(ours) as parser:
        assert ours.gettimeout() is None
        began = time.monotonic()
        with pytest.raises(StoreTimeoutError):
            parser.read_response()
        assert SECONDS / 2 < time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("seconds", [1e-9, 0.000_4, 1.25])
def test_no_time_limit_becomes_none(seconds: float) -> None:
    """A time of 0 would mean none to the system."""
    ours, theirs = socket.socketpair()
    with ours, theirs, parser_of(ours, seconds) as parser:
        assert any(ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
        with pytest.raises(StoreTimeoutError):
            parser.read_response()


def test_rest_of_an_answer_has_its_own_time_and_the_next_one_the_system_s() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, parser_of(ours, 5) as parser:
        theirs.sendall(ANSWER[:5])
        threading.Timer(0.01, theirs.sendall, [ANSWER[5:]]).start()
        assert parser.read_response() == b"ok"
        assert ours.gettimeout() is None


def test_python_keeps_the_time_of_tls() -> None:
    """OpenSSL would begin again without an end after the system's time limit."""
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context()
    tls = context.wrap_socket(ours, server_hostname="store", do_handshake_on_connect=False)
    with theirs, tls, parser_of(tls):
        assert tls.gettimeout() == SECONDS


def test_python_keeps_the_time_of_green_threads() -> None:
    """Their sockets wait in a loop of their own, which knows only the time limit that Python was told."""

    class GreenSocket:
        timeout: float | None = None

        def settimeout(self, seconds: float | None) -> None:
            self.timeout = seconds

        def shutdown(self, _how: int) -> None:
            pass

        def close(self) -> None:
            pass

    green: Any = GreenSocket()
    with parser_of(green):
        assert green.timeout == SECONDS


def test_python_keeps_the_time_where_the_system_refuses_to() -> None:
    class OddSocket(socket.socket):
        def setsockopt(self, *_arguments: Any) -> None:
            raise OSError(22, "Invalid argument")

    ours, theirs = socket.socketpair()
    odd = OddSocket(fileno=ours.detach())
    with theirs, odd, parser_of(odd) as parser:
        assert odd.gettimeout() == SECONDS
        with pytest.raises(StoreTimeoutError):
            parser.read_response()
