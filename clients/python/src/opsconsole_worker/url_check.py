"""What counts as a URL in the settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

# URLs of these schemes may name a Unix socket in their path or query instead of a host.
_SOCKET_SCHEMES = frozenset({"postgres", "postgresql", "unix"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_url(value: object, schemes: Sequence[str]) -> bool:
    """Tell whether this is a URL with one of these schemes that names a host or a Unix socket."""
    if not isinstance(value, str) or re.search(r"\s", value):
        return False
    try:
        parts = urlsplit(value)
        usable_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    on_a_socket = parts.scheme in _SOCKET_SCHEMES and parts.path.strip("/")
    return parts.scheme in schemes and usable_port and bool(parts.hostname or on_a_socket)


def is_loopback(value: object) -> bool:
    """Tell whether this is a URL of plain HTTP on this machine, which development may use."""
    return is_url(value, ("http",)) and urlsplit(str(value)).hostname in _LOOPBACK
