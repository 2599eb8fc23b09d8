"""X-Forwarded-For that cannot be believed: a forgery, a proxy that the settings do not name, or a server that hides peers."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

# The last such peer, until it is taken; and whether it was logged.
_peers: list[str] = []
_logged = False
# Whether a peer was hidden, until it is taken; and whether it was logged.
_hidden = _hidden_logged = False


def note_untrusted(peer: object) -> None:
    """Remember the peer for the background thread, which reports it. Log it once per process."""
    global _logged  # noqa: PLW0603 - once per process
    _peers[:] = [str(peer or "a Unix socket")]
    if not _logged:
        _logged = True
        log.warning(
            "Ignored X-Forwarded-For from %s, which OPSCONSOLE_TRUSTED_PROXIES does not name. All clients behind that "
            "proxy count as one. If the proxy is yours, name it there.",
            peer or "a Unix socket",
        )


def note_hidden() -> None:
    """Remember that the server hides the addresses of its peers. Log it once per process."""
    global _hidden, _hidden_logged  # noqa: PLW0603 - once per process
    _hidden = True
    if not _hidden_logged:
        _hidden_logged = True
        log.warning(
            "The ASGI server hides who connects, so no proxy is trusted: sign-in by a header is off, and all clients behind "
            "a proxy count as one. Serve with uvicorn and without middleware around opsconsole.asgi, or with gunicorn."
        )


def take_hidden() -> bool:
    """Tell whether a peer was hidden since the last call."""
    global _hidden
    hidden, _hidden = _hidden, False
    return hidden


def take() -> str:
    """Return the peer noted since the last call, or an empty string."""
    return _peers.pop() if _peers else ""
