"""What changes between two texts, line by line, for a page."""

from __future__ import annotations

import difflib
import hashlib

from opsconsole.kit.characters import told_apart

CHANGED_SINCE = (
    "Nothing was saved: this is not what the changes were shown of. Read them below, then send it."
)
MOST_LINES = 400
# Comparing takes time by the product of the lines that differ.
MOST_COMPARED = 5_000
_KINDS = {"+": "added", "-": "removed", "@": "place"}


def between(old: str, new: str) -> list[tuple[str, str]]:
    """Return the differences as (kind, line); kind is 'added', 'removed', 'place' or 'same'.

    What nobody sees is shown as escapes: two lines that differ would look alike.
    """
    before, after = _lines(old), _lines(new)
    if len(before) + len(after) > MOST_COMPARED:
        return [("place", f"{len(before):,} lines become {len(after):,}: too many to compare")]
    lines = list(difflib.unified_diff(before, after, lineterm="", n=3))[2 : MOST_LINES + 2]
    return [(_KINDS.get(line[:1], "same"), line) for line in lines]


def digest_of(text: str) -> str:
    """Return what tells two texts apart, such as the text whose changes were shown from the one that is sent."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _lines(text: str) -> list[str]:
    # Only at ends of lines: other separators, such as U+2028, are characters of a value.
    return told_apart(text).removesuffix("\n").split("\n") if text else []
