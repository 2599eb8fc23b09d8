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
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, NewConnectionError

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
        """Return the whole: whoever cuts it before secrets are taken out keeps the beginning of one."""
        return f"{self.status} {self.body}"


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
            return _read(response, wait(response.headers.get("Retry-After", "")))
    # urllib3's own errors come through for a part of a host name that is too long.
    except (requests.RequestException, HTTPError) as error:
        # The error's text contains the address, which is a secret.
        return ChannelAnswer(Outcome.AGAIN if _was_not_sent(error) else Outcome.UNKNOWN, _describe(error))
    except OSError as error:
        return ChannelAnswer(Outcome.UNKNOWN, _describe(error))


def _read(response: requests.Response, pause: timedelta | None) -> HttpAnswer | ChannelAnswer:
    """Read the beginning of the body. Where that fails, what the answer means is unknown, but not how long to wait."""
    status = response.status_code
    try:
        body: bytes = response.raw.read(ANSWER_BYTES, decode_content=True)
    except (HTTPError, OSError):
        outcome = Outcome.AGAIN if status == requests.codes.too_many_requests else Outcome.UNKNOWN
        return ChannelAnswer(outcome, f"{status}, with a body that could not be read", pause)
    return HttpAnswer(status, body.decode(errors="replace").strip(), pause)


def _was_not_sent(error: Exception) -> bool:
    """Tell whether no connection was made, so that the vendor cannot have received the message."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError, LocationParseError)):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _describe(error: Exception) -> str:
    return f"No answer ({type(error).__name__})"


def wait(retry_after: str) -> timedelta | None:
    """Parse ``Retry-After``, which is a number of seconds or an HTTP date. Return at most an hour."""
    if re.fullmatch(r"[0-9]{1,12}", retry_after):
        return min(timedelta(seconds=int(retry_after)), LONGEST_WAIT)
    try:
        pause = parsedate_to_datetime(retry_after) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(pause, timedelta(0)), LONGEST_WAIT)


def without_secrets(text: str, url: str) -> str:
    """Return the text with every part of the channel's URL replaced."""
    pieces = re.split(r"[/:@?&=#,]+", url)[1:]
    for piece in sorted({*pieces, *map(unquote, pieces)}, key=len, reverse=True):
        if len(piece) >= SHORTEST_SECRET:
            text = text.replace(piece, "***")
    return text[:ANSWER_LENGTH]
