"""What changes between two texts, line by line, for a page."""

from __future__ import annotations

import difflib

MOST_LINES = 400
# Comparing takes time by the product of the lines that differ.
MOST_COMPARED = 5_000
_KINDS = {"+": "added", "-": "removed", "@": "place"}


def between(old: str, new: str) -> list[tuple[str, str]]:
    """Return the differences as (kind, line); kind is 'added', 'removed', 'place' or 'same'."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) + len(after) > MOST_COMPARED:
        return [("place", f"{len(before):,} lines become {len(after):,}: too many to compare")]
    lines = list(difflib.unified_diff(before, after, lineterm="", n=3))[2 : MOST_LINES + 2]
    return [(_KINDS.get(line[:1], "same"), line) for line in lines]
