"""Invisible characters: whitespace, control and format characters, such as a byte order mark."""

from __future__ import annotations

import re
import unicodedata

# Control, format, surrogate; separators of lines, paragraphs and words.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


_MADE_VISIBLE = INVISIBLE - {"Zs"}


def made_visible(text: str) -> str:
    """Return the text with what nobody sees as escapes, except spaces, tabs and ends of lines.

    Written to a terminal as they are, some would move the cursor, hide what was written or turn its order around.
    """
    if text.isascii() and (
        text.isprintable() or not _CONTROL.search(text.replace("\n", "").replace("\t", ""))
    ):
        return text
    return "".join(
        _escape(each) if each not in "\n\t" and unicodedata.category(each) in _MADE_VISIBLE else each
        for each in text
    )


def told_apart(text: str) -> str:
    """Return the text as ``made_visible`` does, also with escapes for spaces that are not the usual one."""
    if text.isascii():
        return made_visible(text)
    return "".join(
        made_visible(each) if each == " " or unicodedata.category(each) != "Zs" else _escape(each)
        for each in text
    )


def first_visible(text: str) -> str:
    """Return the first character that shows something; '' if there is none."""
    return next((each for each in text if unicodedata.category(each) not in INVISIBLE), "")


def has_control(text: str) -> bool:
    """Tell whether the text has a control character of ASCII, such as a tab, an end of a line or an escape."""
    return _CONTROL.search(text) is not None


def first_hidden(text: str) -> str:
    """Return the first character that nobody sees, except spaces; '' if there is none.

    Two names that differ by one look alike, and some of them let the rest be read backwards.
    """
    hidden = INVISIBLE - {"Zs"}
    return next((each for each in text if unicodedata.category(each) in hidden), "")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
