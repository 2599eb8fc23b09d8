"""X-Forwarded-For from a peer that is not trusted: a spoofer, or a proxy that the settings don't name."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

# The peer that was seen last, until it is taken; whether it was logged already.
_seen: list[str] = []
_logged = False


def note_untrusted(peer: object) -> None:
    """Remember it for the keeper, which makes it visible; the log has it once a process."""
    global _logged  # noqa: PLW0603 - once a process
    _seen[:] = [str(peer or "a Unix socket")]
    if not _logged:
        _logged = True
        log.warning(
            "X-Forwarded-For came from %s, which OPSCONSOLE_TRUSTED_PROXIES does not name: it is ignored, and "
            "whoever comes through that proxy counts as one client.",
            peer or "a Unix socket",
        )


def take() -> str:
    """The peer that was seen since the last call, or an empty string."""
    return _seen.pop() if _seen else ""
