"""Posts to vendors: how long a vendor asks to wait, and secrets in its answers."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from alerts.channels.http_posts import HttpPost, send, wait, without_secrets
from alerts.channels.outcome import ChannelAnswer, Outcome


def test_retry_after_is_seconds_or_a_date_up_to_an_hour() -> None:
    assert wait("3") == timedelta(seconds=3)
    assert wait("999999999") == timedelta(hours=1)
    assert wait("") is wait("soon") is wait("-3") is None
    in_a_minute = wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60)))
    assert in_a_minute and timedelta(seconds=50) < in_a_minute <= timedelta(seconds=60)
    assert wait("Wed, 21 Oct 2015 07:28:00 GMT") == timedelta(0)
    assert wait("9999999999") == timedelta(hours=1)
    assert wait("Mon, 01 Jan 99999999999999999999 00:00:00 GMT") is None
    assert wait("Mon, 01 Jan 2026 00:00:00 +99999999999999") is None


def test_parts_of_the_url_are_removed_from_a_text() -> None:
    text = "Could not reach host.example.com with tok%40en/tok@en as bob"
    assert (
        without_secrets(text, "pover://bob:tok%40en@host.example.com/key")
        == "Could not reach *** with ***/*** as bob"
    )


UNREADABLE = {
    "wrong encoding": b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    "cut short": b"Content-Length: 50\r\n\r\nok",
    "no chunks": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n",
}


@pytest.mark.parametrize("rest", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize(("status", "outcome"), [(429, Outcome.AGAIN), (200, Outcome.UNKNOWN)])
def test_pause_that_a_vendor_asks_for_counts_whatever_its_body_is(
    status: int, outcome: Outcome, rest: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(f"HTTP/1.1 {status} x\r\nRetry-After: 40\r\n".encode() + rest)

        threading.Thread(target=answer, daemon=True).start()
        answered = send(HttpPost(f"http://127.0.0.1:{server.getsockname()[1]}/", {"text": "x"}))
    assert answered == ChannelAnswer(
        outcome, f"{status}, with a body that could not be read", timedelta(seconds=40)
    )


def test_host_name_that_cannot_exist_is_an_answer() -> None:
    answered = send(HttpPost(f"http://{'a' * 64}.example/", {"text": "x"}))
    assert answered == ChannelAnswer(Outcome.AGAIN, "No answer (LocationParseError)")
