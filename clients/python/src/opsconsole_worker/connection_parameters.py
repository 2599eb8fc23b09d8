"""What libpq reads in a database URL: its parameters, and which characters must be encoded. Pure."""

from __future__ import annotations

import re
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

KNOWN_PARAMETERS = "parameters that libpq knows, each once, such as sslmode=require"


def unusable_parameter(url: str) -> str | None:
    """Return the name of the first parameter that libpq does not know, or that occurs twice; None where all are fine.

    The name is empty where it may be a part of a password, which has no equals sign behind it.
    """
    query = urlsplit(url).query
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    if not names:
        return None
    # Settings are read before anything heavy is imported, and few URLs have parameters.
    from psycopg import pq  # noqa: PLC0415

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    counts = Counter(names)
    unusable = next((name for name in names if name not in known or counts[name] > 1), None)
    return unusable if unusable is None or f"{unusable}=" in query else ""


def is_encoded(url: str) -> bool:
    """Tell whether libpq reads the same user, password and host as others: no @ within them, and every % begins a code."""
    return urlsplit(url).netloc.count("@") <= 1 and not re.search(r"%(?![0-9A-Fa-f]{2})|%00", url)
