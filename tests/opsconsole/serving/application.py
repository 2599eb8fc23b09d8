"""A small application for the tests of the server."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

# A slow request waits for it.
released = threading.Event()
BIG = b"x" * 8_000_000
PROCESSES = "OPSCONSOLE_WEB_PROCESSES"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Tell what the server says about the request.

    ``/big`` is large; ``/slow`` takes a second or until released; ``/held?FILE`` takes until the file exists.
    """
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path == "/slow":
        released.wait(1)
    elif path == "/held":
        wait_until(Path(environ["QUERY_STRING"]).exists, timeout=60)
    told = {name: value for name, value in environ.items() if isinstance(value, str | bool)}
    told |= {"body": body.decode("latin-1"), PROCESSES: os.environ.get(PROCESSES, "")}
    answer = BIG if path == "/big" else json.dumps(told).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
