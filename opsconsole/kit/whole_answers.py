"""A parser for Redis's client that bounds an answer as a whole: its time, its size, and the length of its lists.

The client waits for each piece of an answer as long as its socket may take, so a server that sends a byte now and then is
waited for without an end. It makes room for as many elements as a list announces before one has come: two thousand million
keep the process for seconds. And what is none of the protocol it answers with any error of Python.
"""

from __future__ import annotations

# The class that a library for green threads does not replace.
import _socket
import re
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import Any

from hiredis import PushNotification
from redis._parsers import _HiredisParser
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as StoreTimeoutError
from redis.utils import SENTINEL

from opsconsole.kit.errors import first_line

# What the client asks of a cluster of a thousand servers takes a few megabytes. hiredis nests lists nine deep at most.
MOST_BYTES = 16 * 1024 * 1024
CLOSED = "The connection is closed"
# By Python's time limit of a socket, and by the system's.
TOO_SLOW = (TimeoutError, BlockingIOError)
TOO_MUCH = "The answer is, or announces, more than any that is asked for"
# Of a socket that may take for ever.
LONGEST_SECONDS = 60.0
# What redis-py and hiredis raise about answers that they don't expect.
NONSENSE = (
    AttributeError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)
# A list, or the like, of a million elements or more; nothing that the console keeps in the store begins a line so.
# Two patterns, because one for both takes ten times as long.
_HUGE_AT_START = re.compile(rb"[*%~>|]\d{7}")
_HUGE = re.compile(rb"\n[*%~>|]\d{7}")
_HEADER_BYTES = 8
_LINE_END = 10


class LimitedParser(_HiredisParser):
    """Waits for the first piece of an answer as long as the socket may take, and as long again for all that follow.

    What is no answer of the protocol raises ``InvalidResponse``, and one that is not whole in time ``TimeoutError``, both of
    redis-py.
    """

    def on_connect(self, connection: Any, **options: Any) -> None:
        super().on_connect(connection, **options)  # type: ignore[no-untyped-call]  # redis-py's
        # The beginning of a line whose end has not come.
        self._line = b""
        # The answer to HELLO, of which the client believes that it is a mapping. With health checks, a PING comes first.
        self._greets = connection.protocol == 3 and not connection.health_check_interval

    def leave_time_to_the_system(self) -> None:
        """Let the system keep the time limit of each send and receive, as hiredis does in C, where it can.

        For a limit of its own, Python asks the system before each of them whether it would wait: half of the calls of a short
        exchange. TLS needs that, and so do sockets of green threads.
        """
        sock, seconds = self._sock, self._socket_timeout
        if not seconds or not isinstance(sock, _socket.socket) or isinstance(sock, ssl.SSLSocket):
            return
        whole, parts = divmod(max(1, round(seconds * 1_000_000)), 1_000_000)
        limit = struct.pack("@ll", whole, parts)
        # Where a system wants another form of a time, Python keeps the limit, as before.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            sock.settimeout(None)

    def send(self, packed: bytes) -> None:
        """Send what redis-py or hiredis has packed."""
        if self._sock is None:
            raise StoreConnectionError(CLOSED)
        try:
            self._sock.sendall(packed)
        except TOO_SLOW as error:
            raise StoreTimeoutError("Timeout writing to socket") from error
        except OSError as error:
            raise StoreConnectionError(f"Error while writing: {first_line(error)}") from error

    @property
    def has_surplus(self) -> bool:
        """Tell whether more came than what was asked for: the next request would take it for its answer."""
        reader: Any = self._reader
        return reader is not None and bool(reader.has_data())

    def read_response(
        self,
        disable_decoding: bool = False,  # noqa: FBT001, FBT002 - redis-py's
        push_request: bool = False,  # noqa: FBT001, FBT002 - redis-py's
        timeout: Any = SENTINEL,
    ) -> Any:
        reader = self._reader
        if reader is None:
            raise StoreConnectionError(CLOSED)
        try:
            answer = reader.gets(not disable_decoding)
            if answer is NOT_ENOUGH_DATA:
                self.read_from_socket(timeout)
                answer = reader.gets(not disable_decoding)
            if answer is NOT_ENOUGH_DATA or isinstance(answer, PushNotification):
                answer = self._rest(reader, answer, (not disable_decoding, push_request), timeout)
        except NONSENSE as error:
            raise InvalidResponse(f"The answer is none of Redis ({type(error).__name__})") from error
        first = answer[0] if answer and isinstance(answer, list) else answer
        if isinstance(first, StoreConnectionError):
            raise first
        if self._greets:
            self._greets = False
            if not isinstance(answer, dict | Exception):
                raise InvalidResponse("The greeting is none of Redis")
        return answer

    def read_from_socket(
        self,
        timeout: Any = SENTINEL,
        raise_on_timeout: bool = True,  # noqa: FBT001, FBT002 - redis-py's
    ) -> int:
        """Take what came, and return how much. Raise ``InvalidResponse`` of a list that is longer than any that is asked for."""
        sock, reader, buffer = self._sock, self._reader, self._buffer
        if sock is None or reader is None:
            raise StoreConnectionError(CLOSED)
        try:
            length = sock.recv_into(buffer) if timeout is SENTINEL else self._receive_within(timeout)
        except TOO_SLOW as error:
            if not raise_on_timeout:
                return 0
            raise StoreTimeoutError("Timeout reading from socket") from error
        if not length:
            raise StoreConnectionError("The server closed the connection")
        if self._line or _HUGE.search(buffer, 0, length) or buffer[length - 1] != _LINE_END:
            self._join_lines(bytes(buffer[:length]))
        elif _HUGE_AT_START.match(buffer, 0, length):
            raise InvalidResponse(TOO_MUCH)
        reader.feed(buffer, 0, length)  # type: ignore[arg-type]  # it takes any buffer
        return length

    def _receive_within(self, seconds: float) -> int:
        before = self._sock.gettimeout()
        self._sock.settimeout(seconds)
        try:
            length: int = self._sock.recv_into(self._buffer)
        finally:
            self._sock.settimeout(before)
        return length

    def _join_lines(self, piece: bytes) -> None:
        """Look at a line that comes in pieces as a whole."""
        piece = self._line + piece
        if _HUGE.search(piece) or _HUGE_AT_START.match(piece):
            raise InvalidResponse(TOO_MUCH)
        start = piece.rfind(b"\n") + 1
        self._line = piece[start : start + _HEADER_BYTES]

    def _rest(self, reader: Any, answer: Any, options: tuple[bool, bool], timeout: Any) -> Any:
        """Return the answer of which a piece has come, or before which the server told something unasked.

        ``options``: whether to decode it, and whether what is told unasked is wanted.
        """
        decode, push_request = options
        seconds = (self._socket_timeout if timeout is SENTINEL else timeout) or LONGEST_SECONDS
        deadline, size = time.monotonic() + seconds, 0
        while answer is NOT_ENOUGH_DATA or isinstance(answer, PushNotification):
            if answer is not NOT_ENOUGH_DATA:
                shown = self.handle_push_response(answer)  # type: ignore[no-untyped-call]  # redis-py's
                if push_request:
                    return shown
                answer = reader.gets(decode)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise StoreTimeoutError(f"The answer was not whole {seconds:g} s after its beginning")
            size += self.read_from_socket(left)
            if size > MOST_BYTES:
                raise InvalidResponse(TOO_MUCH)
            answer = reader.gets(decode)
        return answer
