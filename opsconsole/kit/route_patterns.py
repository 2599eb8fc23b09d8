"""Routes of Django in the notation of the API's documentation."""

from __future__ import annotations

import re

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def documented(route: str) -> str:
    """Return a route as the API's documentation writes it: "/queue/{customer_id}", without how Django reads the part."""
    return _PARAMETER.sub(r"{\1}", route)
