"""Posts of JSON to a vendor, in a form that every adapter can interpret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError

from alerts.channels.outcome import ANSWER_LENGTH, ChannelAnswer, Outcome

CONNECT_SECONDS, READ_SECONDS = 5, 10
ANSWER_BYTES = 1_000
LONGEST_WAIT = timedelta(hours=1)
SHORTEST_SECRET = 4


@dataclass(frozen=True)
class HttpPost:
    """A request. The address and the headers may contain secrets."""

    url: str = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class HttpAnswer:
    """A response, with the beginning of its body."""

    status: int
    body: str
    retry_after: timedelta | None = None

    @property
    def text(self) -> str:
        return f"{self.status} {self.body}"[:200]


def send(
    post: HttpPost, seconds: tuple[float, float] = (CONNECT_SECONDS, READ_SECONDS)
) -> HttpAnswer | ChannelAnswer:
    """Send a request. Return the response, or, if there was none, an answer of the channel that says so.

    ``seconds``: how long to wait for a connection, and for each part of the response. A slow server
    can make this take longer. ``alerts.sending.delivery`` limits the time.
    """
    try:
        with requests.post(
            post.url,
            json=post.payload,
            headers=dict(post.headers),
            timeout=seconds,
            allow_redirects=False,
            stream=True,
        ) as response:
            body = response.raw.read(ANSWER_BYTES, decode_content=True).decode(errors="replace").strip()
            return HttpAnswer(response.status_code, body, wait(response.headers.get("Retry-After", "")))
    except requests.RequestException as error:
        # The error's text contains the address, which is a secret.
        return ChannelAnswer(Outcome.AGAIN if _was_not_sent(error) else Outcome.UNKNOWN, _describe(error))
    except OSError as error:
        return ChannelAnswer(Outcome.UNKNOWN, _describe(error))


def _was_not_sent(error: requests.RequestException) -> bool:
    """Tell whether no connection was made, so that the vendor cannot have received the message."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _describe(error: Exception) -> str:
    return f"No answer ({type(error).__name__})"


def wait(retry_after: str) -> timedelta | None:
    """Parse ``Retry-After``, which is a number of seconds or an HTTP date. Return at most an hour."""
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return min(timedelta(seconds=int(retry_after)), LONGEST_WAIT)
    try:
        pause = parsedate_to_datetime(retry_after) - datetime.now(UTC)
    except (ValueError, TypeError):
        return None
    return min(max(pause, timedelta(0)), LONGEST_WAIT)


def without_secrets(text: str, url: str) -> str:
    """Return the text with every part of the channel's URL replaced."""
    pieces = re.split(r"[/:@?&=#,]+", url)[1:]
    for piece in sorted({*pieces, *map(unquote, pieces)}, key=len, reverse=True):
        if len(piece) >= SHORTEST_SECRET:
            text = text.replace(piece, "***")
    return text[:ANSWER_LENGTH]
