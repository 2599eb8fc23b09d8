"""What PostgreSQL can store and programs can read: text without NUL and lone surrogates, and documents that aren't too deep."""

from __future__ import annotations

import json
import re
from typing import Any

# The largest value of an integer column.
LARGEST_INTEGER = 2**31 - 1
# Levels of a JSON document. Parsers, printers and validators of many languages follow each level by a call.
DEEPEST = 100
# Made once: ``json.dumps`` makes one per call where an option is given.
_WITH_CHARACTERS = json.JSONEncoder(ensure_ascii=False)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
_LONGEST_KEY_SHOWN = 80
_BRACKETS = {"{": 1, "[": 1, "}": -1, "]": -1}


class KeyTwice(ValueError):
    """A key is twice in one object of a JSON text. Which value counts would depend on who reads it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {json.dumps(key[:_LONGEST_KEY_SHOWN])} is twice in one object")
        self.key = key


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object as ``json.loads`` does by itself, but raise ``KeyTwice`` where a value would be dropped."""
    document = dict(pairs)
    if len(document) < len(pairs):
        # Linear: a hostile object has a hundred thousand keys.
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise KeyTwice(key)
            seen.add(key)
    return document


def plain_text(text: str) -> str:
    """Return the text without NUL characters and with question marks for lone surrogates."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can store the text unchanged."""
    return "\x00" not in text and (text.isascii() or text == plain_text(text))


def json_text(value: Any, *, encoder: type[json.JSONEncoder] | None = None) -> str:
    """Return a value as JSON for the database, with its characters as they are.

    A database with the encoding SQL_ASCII refuses the escapes of all but ASCII, whether they are characters or not.
    """
    text = json.dumps(value, ensure_ascii=False, cls=encoder) if encoder else _WITH_CHARACTERS.encode(value)
    return text if is_storable(text) else json.dumps(value, cls=encoder)


def json_problem(value: Any) -> str | None:
    """Return why the value can't be stored as jsonb, or None when it can."""
    if is_nested_too_deeply(value):
        return f"it is nested more than {DEEPEST} levels deep"
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return "it has a lone surrogate, which is not a character"
    except (TypeError, ValueError) as error:
        return f"it is not JSON ({error})"
    # The form that json.dumps writes. A text that contains these six characters itself is also refused.
    return "it has a NUL character" if "\\u0000" in text else None


def is_nested_too_deeply(value: object) -> bool:
    """Tell whether a value is nested deeper than ``DEEPEST`` levels, going down level by level."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[object] = []
        for each in level:
            inner += (
                each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else ()
            )
        level = [each for each in inner if isinstance(each, dict | list | tuple)]
        if not level:
            return False
    return True


def is_too_deep(text: str) -> bool:
    """Tell whether the JSON in this text is nested deeper than ``DEEPEST`` levels, without following its levels."""
    if text.count("{") + text.count("[") <= DEEPEST:
        return False
    level = 0
    for bracket in re.findall(r"[][{}]", _STRING.sub("", text)):
        level += _BRACKETS[bracket]
        if level > DEEPEST:
            return True
    return False
