"""The application for the measurements of web servers: it uses processor time, waits, or does neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

SMALL, LARGE = b"ok", b"x" * 50_000
# About what a list of jobs takes without its queries.
PAGE_SECONDS = 0.02
SLOW_SECONDS = 1.0


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer ``/page`` after work, ``/slow`` after a wait, and everything else at once."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(SLOW_SECONDS)
    if path == "/page":
        until = time.thread_time() + PAGE_SECONDS
        while time.thread_time() < until:
            pass
    body = LARGE if path == "/page" else SMALL
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
