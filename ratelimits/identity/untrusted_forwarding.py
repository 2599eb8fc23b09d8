"""Headers of proxies that cannot be believed or are not read: a forgery, a proxy that the settings do not name or whose
header they do not name, or a server that hides peers."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

SET_HEADER = "If your proxies overwrite this header, set OPSCONSOLE_FORWARDED_HEADER to it."

# The last unnamed peer, and the last named one whose header is not read, until they are taken.
_peers: list[str] = []
_unread: list[str] = []
# Whether a peer was hidden, until it is taken.
_hidden = False
# What was logged already.
_logged: set[str] = set()


def note_untrusted(peer: object) -> None:
    """Remember the peer for the background thread, which reports it. Log it once per process."""
    _peers[:] = [str(peer or "a Unix socket")]
    _warn_once(
        "untrusted",
        "Ignored the headers of a proxy from %s, which OPSCONSOLE_TRUSTED_PROXIES does not name. All clients behind that "
        "proxy count as one. If the proxy is yours, name it there.",
        peer or "a Unix socket",
    )


def note_unread(peer: object, header: str) -> None:
    """Remember a trusted proxy that sends this header, and not the one that the settings name. Log it once per process."""
    _unread[:] = [f"{peer or 'A Unix socket'} sends {header}"]
    _warn_once(
        "unread",
        f"The proxy %s tells its clients' addresses in %s, which is not read: all its clients count as one. {SET_HEADER}",
        peer or "on a Unix socket",
        header,
    )


def note_hidden() -> None:
    """Remember that the server hides the addresses of its peers. Log it once per process."""
    global _hidden  # noqa: PLW0603 - once per process
    _hidden = True
    _warn_once(
        "hidden",
        "The ASGI server hides who connects, so no proxy is trusted: sign-in by a header is off, and all clients behind "
        "a proxy count as one. Serve with uvicorn and without middleware around opsconsole.asgi, or with gunicorn.",
    )


def _warn_once(what: str, sentence: str, *values: object) -> None:
    if what not in _logged:
        _logged.add(what)
        log.warning(sentence, *values)


def is_waiting() -> bool:
    """Tell whether something was noted and not taken."""
    return bool(_peers or _unread or _hidden)


def take_hidden() -> bool:
    """Tell whether a peer was hidden since the last call."""
    global _hidden
    hidden, _hidden = _hidden, False
    return hidden


def take() -> str:
    """Return the peer noted since the last call, or an empty string."""
    return _peers.pop() if _peers else ""


def take_unread() -> str:
    """Return the proxy and header noted since the last call, or an empty string."""
    return _unread.pop() if _unread else ""
