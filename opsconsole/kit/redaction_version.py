"""The version of the configured redaction, which marks texts that were read from messages and stored.

What was read under other paths may show what is hidden now: until it is read again, pages show ``NOT_READ_AGAIN`` instead.
"""

from __future__ import annotations

import hashlib

from django.conf import settings

NOT_READ_AGAIN = "Hidden until it is read again with the new redaction paths"


def current() -> str:
    """Return a digest of the configured paths, and of how they are applied."""
    paths = settings.OPSCONSOLE_REDACT_PATHS
    rules = [*paths, "also in texts"] if paths else []
    return hashlib.sha256("\n".join(rules).encode()).hexdigest()[:12]


def hides_less(version: str) -> bool:
    """Tell whether text that was read under this version may show what is hidden now. Without any paths, nothing is."""
    return bool(settings.OPSCONSOLE_REDACT_PATHS) and version != current()


def shown(text: str, version: str) -> str:
    """Return text that was read under this version, or the sentence that stands in its place."""
    return NOT_READ_AGAIN if hides_less(version) else text
