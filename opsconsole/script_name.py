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
# What is asked on the host itself, beside every proxy.
ASKED_DIRECTLY = frozenset({"/healthz", "/readyz", "/metrics"})
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def own() -> str:
    """Return the path under which the console is mounted, such as ``/ops``; '' at the root."""
    name = os.environ.get("SCRIPT_NAME", "").strip("/")
    return f"/{name}" if name else ""


def ignoring_clients(application: Application) -> Application:
    """Return the WSGI application behind a correction of what a client's header made of the path."""

    def corrected(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name, claimed = own(), environ.get("SCRIPT_NAME", "")
        if HEADER in environ and claimed != name:
            path = _decoded(claimed) + environ.get("PATH_INFO", "")
            environ["SCRIPT_NAME"] = name
            environ["PATH_INFO"] = path.removeprefix(name)
        environ.pop(HEADER, None)
        return application(environ, start_response)

    return corrected


def mounted(path: str) -> tuple[str, str]:
    """Split a path as it was sent: under what the console is mounted, and which page of it is asked for.

    Nothing is found beside the path, or a proxy's rules for pages below it would not hold.
    """
    name = own()
    if not name or path in ASKED_DIRECTLY:
        return "", path
    inside = path == name or path.startswith(f"{name}/")
    # No page has a path that begins with two slashes.
    return name, path.removeprefix(name) if inside else f"/{path}"


def _decoded(path: str) -> str:
    """Decode a path as WSGI wants it: gunicorn leaves that of the header as it came."""
    return unquote_to_bytes(path).decode("latin-1")
