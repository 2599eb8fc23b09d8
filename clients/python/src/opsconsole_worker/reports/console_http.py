"""HTTP to the console: one POST within a limit of time, on a connection per thread."""

from __future__ import annotations

import http.client
import json
import select
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from opsconsole_worker import __version__
from opsconsole_worker.database import door
from opsconsole_worker.reports.bounded_connection import BoundedConnection, BoundedTlsConnection

# In seconds. A console that hangs must not keep a heartbeat for longer than the interval between two.
TIMEOUT = 10.0
# Payloads of jobs and results are far smaller.
LARGEST_ANSWER = 64 * 1024 * 1024
_CHUNK = 64 * 1024
# A longer wait would make the runs of this worker stale, where the threshold is the usual one.
LONGEST_WAIT = 300.0


class ConsoleError(Exception):
    """The console did not do what a worker asked. ``kind``: the trouble in a few words, None when it gave no answer."""

    def __init__(self, sentence: str, *, kind: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.retry_after = retry_after


class ConsoleAway(ConsoleError):
    """The console gave no answer, or can't do this now: asking again may help. Whether it was done is unknown."""


class ConsoleFailed(ConsoleAway):
    """The console failed at this request, as it may again."""


class ConsoleRefused(ConsoleError):
    """The console refuses this report for good."""


class RowLocked(ConsoleAway, door.RowLocked):
    """Another transaction locks the job's row. Nothing was changed."""


@dataclass(frozen=True)
class Answer:
    """An answer. ``said`` is the JSON object of its body, or empty. ``of_console``: it is the console's, not that of a proxy."""

    status: int
    of_console: bool
    said: Mapping[str, Any]
    retry_after: float

    @property
    def reason(self) -> str:
        return str(self.said.get("reason", ""))

    @property
    def detail(self) -> str:
        """Return the console's sentence, or the status."""
        return str(self.said.get("detail") or f"It answered {self.status}.")


class ConsoleHttp:
    """The API below this address, asked with this key. A redirect is not followed: it would take the key elsewhere."""

    def __init__(self, url: str, key: str, *, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self.place = (parts.hostname or "", parts.port or (443 if self._secure else 80))
        self._root = parts.path.rstrip("/")
        self._timeout = timeout
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "User-Agent": f"opsconsole-worker/{__version__}",
        }
        self._context = ssl.create_default_context() if self._secure else None
        self._of_thread = threading.local()

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send a request and return the whole answer, whatever its status. Raise ``ConsoleAway`` if there is none."""
        connection = self._connection()
        connection.ends_at = time.monotonic() + self._timeout
        try:
            is_sent = self._send(connection, path, json.dumps(body).encode())
            response = connection.getresponse()
            text = self._read(response)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConsoleAway(str(error) or type(error).__name__) from error
        if not is_sent:
            self.close()
        # The console says its version with each answer of the API.
        of_console = response.getheader("API-Version") is not None
        pause = _seconds(response.getheader("Retry-After"))
        return Answer(response.status, of_console, _object(text), pause)

    def _send(self, connection: BoundedConnection, path: str, body: bytes) -> bool:
        """Send a request. Return False if the other side listened to a part only: the answer may be there nevertheless."""
        if connection.sock is None:
            connection.connect()
        try:
            connection.request("POST", f"{self._root}/api/{path}", body, self._headers)
        except (BrokenPipeError, ConnectionResetError):
            # As when a body is refused by its length.
            return False
        return True

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read all of the body: an answer that trickles beyond the limit of time is none."""
        parts, size = [], 0
        while part := response.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > LARGEST_ANSWER:
                raise TimeoutError("the answer is too large")
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        # Only then does the connection take another request.
        response.close()
        return b"".join(parts)

    def _connection(self) -> BoundedConnection:
        """Return the connection of this thread, or a new one where the other side has closed it meanwhile."""
        kept: BoundedConnection | None = getattr(self._of_thread, "connection", None)
        if kept is not None and (kept.sock is None or _has_ended(kept)):
            self.close()
            kept = None
        if kept is None:
            kept = self._of_thread.connection = self._new()
        return kept

    def _new(self) -> BoundedConnection:
        if self._context:
            return BoundedTlsConnection(*self.place, context=self._context)
        return BoundedConnection(*self.place)

    def close(self) -> None:
        """Close the connection of this thread."""
        kept, self._of_thread.connection = getattr(self._of_thread, "connection", None), None
        if kept is not None:
            with suppress(OSError):
                kept.close()


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Tell whether an idle connection has something to read: its end, or an answer that nobody waits for."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _object(text: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _seconds(header: str | None) -> float:
    """Return the pause that a header asks for. Proxies may write a date, which counts as none."""
    text = (header or "").strip()
    return min(float(text), LONGEST_WAIT) if text.isdecimal() and text.isascii() else 0.0
