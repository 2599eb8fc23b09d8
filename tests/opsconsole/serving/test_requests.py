"""Requests that the server refuses before anything of the console reads them, and how it hands over the others."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from opsconsole.serving.servers import LARGEST_BODY, LARGEST_HEAD
from tests.opsconsole.serving.conftest import Served

HOST = b"Host: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"


def status(response: bytes) -> int:
    """Return the status of a response that is whole, and after which nothing comes."""
    head, _, body = response.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert int(lines[b"content-length"]) == len(body)
    return int(head.split()[1])


def told(response: bytes) -> dict[str, Any]:
    assert status(response) == 200
    answer: dict[str, Any] = json.loads(response.partition(b"\r\n\r\n")[2])
    return answer


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /" + b"x" * 8_190 + b" HTTP/1.1\r\n" + HOST + CLOSE, 414),
        (b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 101 + CLOSE, 431),
        (b"GET / HTTP/1.1\r\nX-Big: " + b"x" * LARGEST_HEAD + b"\r\n" + CLOSE, 431),
        (b"GET / HTTP/2.0\r\n" + HOST + CLOSE, 400),
        (b"GET /\r\n" + HOST + CLOSE, 400),
        (b"\x16\x03\x01 \x02\r\n" + HOST + CLOSE, 400),
        (b"get / HTTP/1.1\r\n" + HOST + CLOSE, 400),
        (b"GET / HTTP/1.1\r\nX-Folded: a\r\n b\r\n" + HOST + CLOSE, 400),
        (b"GET / HTTP/1.1\r\nX-Space : a\r\n" + HOST + CLOSE, 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -5\r\n" + CLOSE, 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5, 5\r\n" + CLOSE + b"12345", 400),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 5\r\n" + CLOSE + b"12345",
            400,
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n" + CLOSE, 501),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" + CLOSE + b"zz\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" + CLOSE + b"0\r\n\r\n", 400),
    ],
    ids=[
        *(
            "long-line",
            "many-fields",
            "large-head",
            "version",
            "no-version",
            "tls",
            "method",
            "folded",
            "blank",
        ),
        *("negative", "list", "twice", "coding", "chunks", "chunks-of-http-1.0"),
    ],
)
def test_what_can_be_misread_or_is_too_large_is_refused(
    served: Served, request_: bytes, expected: int
) -> None:
    assert status(served.ask(request_)) == expected


@pytest.mark.parametrize("order", [1, -1])
def test_body_with_two_lengths_is_refused_and_hides_no_request(served: Served, order: int) -> None:
    """One server would believe the length, another the chunks: the rest would be somebody else's next request."""
    lengths = [b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"][::order]
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"

    response = served.ask(b"POST / HTTP/1.1\r\n" + HOST + b"".join(lengths) + b"\r\n" + hidden)

    assert status(response) == 400


def test_chunks_are_put_together(served: Served) -> None:
    chunks = (b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n0\r\n\r\n")

    environ = told(served.ask(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + CLOSE, *chunks))

    assert (environ["body"], environ["CONTENT_LENGTH"]) == ("abcde", "5")
    assert "HTTP_TRANSFER_ENCODING" not in environ


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_client_that_sends_too_much_reads_why(served: Served, *, chunked: bool) -> None:
    """It is still sending when the answer comes, so the server lets it read before the connection is gone."""
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    pieces = (b"x" * 65_536 for _ in range(LARGEST_BODY // 65_536 + 20))
    length = {} if chunked else {"Content-Length": str(LARGEST_BODY + 20 * 65_536)}

    try:
        client.request("POST", "/", pieces, length, encode_chunked=chunked)
    except ConnectionError:
        pytest.fail("the connection was reset before the answer could be read")
    answer = client.getresponse()

    assert answer.status == 413
    assert len(answer.read()) == int(answer.headers["Content-Length"])
    client.close()


def test_largest_body_is_read(served: Served) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n" % LARGEST_BODY

    assert told(served.ask(head + HOST + CLOSE, b"x" * LARGEST_BODY))["CONTENT_LENGTH"] == str(LARGEST_BODY)


def test_path_and_peer_are_those_of_the_client_and_no_header_changes_them(served: Served) -> None:
    """A proxy's rule for /admin/ would not hold for //admin/, or for SCRIPT_NAME, if either became /admin/."""
    forged = b"SCRIPT_NAME: /x\r\nScript-Name: /x\r\nREMOTE_ADDR: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n"

    environ = told(served.ask(b"GET //x//admin/%20?a=%41 HTTP/1.1\r\n" + HOST + forged + CLOSE))

    assert (environ["PATH_INFO"], environ["SCRIPT_NAME"]) == ("//x//admin/ ", "")
    assert environ["QUERY_STRING"] == "a=%41"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"
    assert environ["wsgi.url_scheme"] == "http"
    # The console decides whether to believe it.
    assert environ["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"
