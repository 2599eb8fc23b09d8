"""X-Forwarded-For from an untrusted peer: either a forgery, or a proxy that the settings do not name."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

# The last such peer, until it is taken; and whether it was logged.
_peers: list[str] = []
_logged = False


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


def take() -> str:
    """Return the peer noted since the last call, or an empty string."""
    return _peers.pop() if _peers else ""
