"""The path under which the console is mounted. The server's environment names it (``SCRIPT_NAME``), never a client.

gunicorn also takes it from a header of that name, by default from every peer on the same host. A client could then ask
for any page by a path that the rules of a proxy do not cover.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

HEADER = "HTTP_SCRIPT_NAME"
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def ignoring_clients(application: Application) -> Application:
    """Return the WSGI application behind a correction of what a client's header made of the path."""

    def corrected(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        own = os.environ.get("SCRIPT_NAME", "")
        claimed = environ.get("SCRIPT_NAME", "")
        if HEADER in environ and claimed != own:
            path = _decoded(claimed) + environ.get("PATH_INFO", "")
            environ["SCRIPT_NAME"] = own
            environ["PATH_INFO"] = path.removeprefix(own)
        environ.pop(HEADER, None)
        return application(environ, start_response)

    return corrected


def _decoded(path: str) -> str:
    """Decode a path as WSGI wants it: gunicorn leaves that of the header as it came."""
    return unquote_to_bytes(path).decode("latin-1")
