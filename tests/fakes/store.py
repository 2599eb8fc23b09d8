"""Something on the store's port that speaks the protocol of Redis oddly: it greets as a server, and answers what a test says.

As a process: ``python -m tests.fakes.store PORT ANSWER``, where ANSWER is one of ``ODD_ANSWERS``.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import hiredis

Command = list[bytes]
GREETING = b"%1\r\n$5\r\nproto\r\n:3\r\n"
ALONE = b"$28\r\n# Cluster\r\ncluster_enabled:0\r\n"
SECONDS_BETWEEN_BYTES = 0.02
# Answers of which a byte comes now and then: what has come, and what goes on coming.
DRIPS = {
    "half a list": (b"*5\r\n:1\r\n", b":1"),
    "half a text": (b"$900\r\n", b"a"),
    "a line without an end": (b"+", b"a"),
    "messages that nobody asked for": (b">1\r\n+a\r\n", b">1\r\n+b\r\n"),
}
ODD_ANSWERS = {
    "nothing": b"$-1\r\n",
    "a number": b":1\r\n",
    "a word": b"+OK\r\n",
    "a text": b"$5\r\nhello\r\n",
    "a mapping": b"%1\r\n+a\r\n:1\r\n",
    "a mapping by lists": b"%1\r\n*1\r\n:1\r\n:2\r\n",
    "a fraction": b",1.5\r\n",
    "an empty list": b"*0\r\n",
    "a list of words": b"*5\r\n+1\r\n+2\r\n+3\r\n+4\r\n+5\r\n",
    "a list of errors": b"*5\r\n-ERR a\r\n-ERR b\r\n-ERR c\r\n-ERR d\r\n-ERR e\r\n",
    "too short a list": b"*4\r\n:1\r\n:2\r\n:1\r\n:3\r\n",
    "too long a list": b"*6\r\n:1\r\n:2\r\n:1\r\n:3\r\n:4\r\n:5\r\n",
    "neither yes nor no": b"*5\r\n:1\r\n:1800000000000000\r\n:7\r\n:3\r\n:60000000\r\n",
    "no time": b"*5\r\n:1\r\n:-1\r\n:1\r\n:3\r\n:60000000\r\n",
    "no generation": b"*1\r\n:0\r\n",
    "a negative generation": b"*5\r\n:-1\r\n:1800000000000000\r\n:1\r\n:3\r\n:60000000\r\n",
    "two thousand million elements": b"*2147483647\r\n",
    "many elements within one": b"*1\r\n*99999999\r\n",
    "a text of a gigabyte": b"$999999999\r\n",
    "a list of a negative length": b"*-7\r\n",
    "a number that is none": b":one\r\n",
    "lists within lists": b"*1\r\n" * 10_000,
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a redirection to nowhere": b"-MOVED nowhere\r\n",
    "silence": b"",
    **{name: begun for name, (begun, _) in DRIPS.items()},
}
DRIPPING = dict(DRIPS.values())


def greet(command: Command) -> bytes | None:
    """Answer as a server that is no cluster whatever a client says before its first question; None: it is a question."""
    match command[0].upper():
        case b"HELLO":
            return GREETING
        case b"CLIENT" | b"SELECT" | b"AUTH":
            return b"+OK\r\n"
        case b"INFO" if command[1:] == [b"cluster"]:
            return ALONE
        case _:
            return None


@dataclass
class OddStore:
    """A server on loopback. ``answer`` returns the bytes of its answer to a command; '' is silence."""

    answer: Callable[[Command], bytes]
    port: int = 0
    asked: list[Command] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def serve(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._speak, args=[connection], daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._ended.set()
        for each in (self.listener, *self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _speak(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        try:
            while data := connection.recv(65536):
                reader.feed(data)
                while command := reader.gets():
                    self._answer(connection, command)
        except OSError:
            # The client went.
            return

    def _answer(self, connection: socket.socket, command: Command) -> None:
        self.asked.append(command)
        answer = self.answer(command)
        connection.sendall(answer)
        drip = DRIPPING.get(answer)
        while drip and not self._ended.wait(SECONDS_BETWEEN_BYTES):
            connection.sendall(drip)


@contextmanager
def answering(answer: Callable[[Command], bytes]) -> Iterator[OddStore]:
    """Serve beside the test. ``answer`` also answers greetings; see ``odd``."""
    store = OddStore(answer)
    server = threading.Thread(target=store.serve, daemon=True)
    server.start()
    try:
        yield store
    finally:
        store.stop()
        server.join(5)


def odd(name: str) -> Callable[[Command], bytes]:
    """Return the answers of a server that greets well, and answers each question oddly."""

    def answer(command: Command) -> bytes:
        greeting = greet(command)
        return ODD_ANSWERS[name] if greeting is None else greeting

    return answer


def counting_nothing(command: Command) -> bytes:
    """Answer as a store in which each client has used 4 requests, whatever is counted."""
    if command[0] == b"EVALSHA":
        policies = (len(command) - 3 - int(command[2])) // 7
        numbers = [1, 1_800_000_000_000_000, *[1, 4, 1_000_000] * policies]
        return b"*%d\r\n" % len(numbers) + b"".join(b":%d\r\n" % number for number in numbers)
    return greet(command) or b"+OK\r\n"


def odd_in_a_cluster(name: str, port: int, *, slots: bool = False) -> Callable[[Command], bytes]:
    """Return the answers of the one server of a cluster, of whose answers only one kind is odd: ``slots``, or the questions."""
    listed = b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n" % port

    def answer(command: Command) -> bytes:
        match command[0].upper():
            case b"INFO" if command[1:] == [b"cluster"]:
                return ALONE.replace(b":0", b":1")
            case b"CLUSTER":
                return ODD_ANSWERS[name] if slots else listed
            case b"COMMAND":
                return b"*0\r\n"
            case _:
                greeting = greet(command)
                return ODD_ANSWERS[name] if greeting is None else greeting

    return answer


def odd_from_the_start(name: str) -> Callable[[Command], bytes]:
    return lambda _command: ODD_ANSWERS[name]


if __name__ == "__main__":
    OddStore(odd(sys.argv[2]), port=int(sys.argv[1])).serve()
