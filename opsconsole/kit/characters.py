"""Invisible characters: whitespace, control and format characters, such as a byte order mark."""

from __future__ import annotations

import unicodedata

# Control, format, surrogate; separators of lines, paragraphs and words.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})


def first_visible(text: str) -> str:
    """Return the first character that shows something; '' if there is none."""
    return next((each for each in text if unicodedata.category(each) not in INVISIBLE), "")
