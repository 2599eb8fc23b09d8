"""The peer of an ASGI request: the address at the other end of its socket, which alone decides about trust in proxies.

uvicorn replaces the peer by what ``X-Forwarded-For`` says (``--proxy-headers``, its default), so that the console could
neither see which proxy connected nor whether a client forged the header. The peer is therefore read from the socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings

from ratelimits.identity import untrusted_forwarding

# The headers from which servers derive a peer, or proxies tell one.
FORWARDED = {b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip", b"forwarded"}


def with_socket_peer(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    """Return the scope with the socket's address and scheme.

    If the server hides its socket, what the request says about proxies is removed: nobody is trusted.
    """
    # uvicorn's requests have a transport. Other servers, and middleware around ours, hide it.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        return _trusting_nobody(scope)
    name = transport.get_extra_info("peername")
    # A Unix socket has no address.
    client = tuple(name[:2]) if isinstance(name, tuple) and len(name) >= 2 else None
    return scope | {"client": client, "scheme": "https" if transport.get_extra_info("sslcontext") else "http"}


def _trusting_nobody(scope: dict[str, Any]) -> dict[str, Any]:
    names = {name.lower().replace(b"_", b"-") for name, _ in scope["headers"]}
    sign_in = settings.OPSCONSOLE_SIGN_IN_HEADER.lower().replace("_", "-").encode()
    removed = FORWARDED | ({sign_in} if sign_in else set())
    if not names & removed:
        return scope
    untrusted_forwarding.note_hidden()
    headers = [
        (name, text) for name, text in scope["headers"] if name.lower().replace(b"_", b"-") not in removed
    ]
    return scope | {"client": None, "scheme": "http", "headers": headers}
