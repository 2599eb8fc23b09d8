"""The trace to which a message belongs, as an attribute of it: the header traceparent of W3C Trace Context."""

from __future__ import annotations

import re

ATTRIBUTE = "traceparent"
_HEADER = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def checked(value: object) -> str:
    """Return the header, or '' for whatever is none: others write attributes, too."""
    return value if isinstance(value, str) and _HEADER.fullmatch(value) else ""
