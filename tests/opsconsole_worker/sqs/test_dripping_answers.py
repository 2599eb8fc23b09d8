"""The adapter with an endpoint whose answers come byte by byte: each call ends in time, and a send as one of unknown outcome."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from opsconsole_worker import sqs
from opsconsole_worker.sqs import answer_deadlines
from tests.opsconsole_worker.sqs.test_sqs import held, outgoing

if TYPE_CHECKING:
    from pytest_django.fixtures import Settings

LIMIT = 0.5
# Two tries of a call, the pause between them, and a busy machine.
PATIENCE = 2 * LIMIT + 4
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"


# What an answer begins with, and what goes on coming.
DRIPS = {
    "headers": (HEAD + b"X-Amz-Id: ", b"a"),
    "body": (HEAD + b"Content-Length: 999999\r\n\r\n", b" "),
    "body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


class Dripping:
    """An endpoint on loopback that begins each answer, and goes on with a piece at a time without an end."""

    def __init__(self, begins: bytes, piece: bytes) -> None:
        self.begins, self.piece = begins, piece
        self.ended = threading.Event()
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/0/default"
        self.threads = [threading.Thread(target=self._serve, daemon=True)]
        self.threads[0].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                thread = threading.Thread(target=self._drip, args=[connection], daemon=True)
                self.threads.append(thread)
                thread.start()

    def _drip(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(65536)
            self.requests += 1
            connection.sendall(self.begins)
            while not self.ended.wait(0.02):
                connection.sendall(self.piece)

    def stop(self) -> None:
        self.ended.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(5)


@pytest.fixture(params=DRIPS)
def endpoint(request: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dripping]:
    monkeypatch.setattr(answer_deadlines, "SECONDS", LIMIT)
    settings.AWS_ENDPOINT_URL = ""
    sqs._client.cache_clear()
    serving = Dripping(*DRIPS[request.param])
    yield serving
    serving.stop()
    sqs._client.cache_clear()


CALLS: dict[str, Callable[[str], object]] = {
    "send": lambda url: sqs.send_batch(url, [outgoing(0)]),
    "send raw": lambda url: sqs.send_raw(url, "{}"),
    "receive": sqs.receive,
    "delete": lambda url: sqs.delete(held(url)),
    "delete batch": lambda url: sqs.delete_batch([held(url)]),
    "release": lambda url: sqs.release(held(url)),
    "depth": sqs.depth,
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_ends_in_time_as_one_without_an_answer(endpoint: Dripping, call: str) -> None:
    began = time.monotonic()
    with pytest.raises(sqs.QueueUnavailable) as raised:
        CALLS[call](endpoint.url)
    assert time.monotonic() - began < PATIENCE
    assert not isinstance(raised.value, sqs.QueueUnreachable | sqs.QueueThrottled)


def test_send_that_must_not_be_repeated_is_asked_once(endpoint: Dripping) -> None:
    with pytest.raises(sqs.QueueUnavailable) as raised:
        sqs.send_batch(endpoint.url, [outgoing(0)], once=True)
    assert not isinstance(raised.value, sqs.QueueUnreachable)
    assert endpoint.requests == 1
