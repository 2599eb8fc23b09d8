"""Responses of HTTP/1.1, read whole from a socket: a head and its body may arrive in any number of pieces."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

Stream: TypeAlias = BinaryIO | socket.SocketIO


@dataclass(frozen=True)
class Response:
    """A response whose body was read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def next_response(received: Stream) -> Response:
    """Read the response to a GET or POST that starts here, and nothing of what follows it."""
    version, status, *_ = received.readline().split() or (b"nothing", b"0")
    assert version == b"HTTP/1.1", version
    headers = http.client.parse_headers(received)
    if headers["Transfer-Encoding"] == "chunked":
        return Response(int(status), headers, b"".join(_chunks(received)))
    return Response(int(status), headers, _exactly(received, int(headers["Content-Length"])))


def whole_response(client: socket.socket) -> Response:
    """Read one response, so that the next byte that is read from the client is that of the next response."""
    # Without a buffer, which would take bytes of the next response and be thrown away.
    with client.makefile("rb", buffering=0) as received:
        return next_response(received)


def _chunks(received: Stream) -> list[bytes]:
    chunks = [b"start"]
    while chunks[-1]:
        chunks.append(_exactly(received, int(received.readline(), 16)))
        assert received.readline() == b"\r\n"
    return chunks[1:]


def _exactly(received: Stream, length: int) -> bytes:
    body = b""
    while len(body) < length:
        piece = received.read(length - len(body))
        assert piece, f"{length - len(body)} bytes of the body are missing"
        body += piece
    return body
