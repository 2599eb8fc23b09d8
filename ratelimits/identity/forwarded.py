"""The Forwarded header (RFC 7239): a list of elements, one per proxy, each a list of pairs such as ``for=192.0.2.60``.

It is read from right to left, because a client can send anything, and proxies add their elements at the end. What a
client sent can't hide these: not even an open quote, which would otherwise swallow what follows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# Proxies that don't quote colons and brackets, as they should, are understood too.
VALUE = r"[!#$%&'*+.^_`|~0-9A-Za-z:\[\]/-]+"
QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_PAIR = re.compile(rf"({NAME})=({VALUE}|{QUOTED})")
# What lies between two commas that are not inside quotes.
_ELEMENT = re.compile(rf'(?:{QUOTED}|[^",])*')
_BLANKS = " \t"
# No real header is longer; what is further left is not read.
LONGEST = 2_048


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says about the request that it received. None: it says nothing about that."""

    client: str | None
    scheme: str | None


def hops(text: str, most: int) -> list[Hop]:
    """Return what proxies say, from right to left, at most this many and up to the first that can't be read."""
    rest = text[-LONGEST:]
    read: list[Hop] = []
    while len(read) < most:
        elements = _elements(rest)
        if elements is not None and (readable := _readable(elements)):
            return read + readable[: most - len(read)]
        # A quote is open somewhere, or it was and the quotes of a proxy closed it. What follows it was added later.
        last = _last_element(rest, most)
        if last is None:
            return read
        pairs, rest = last
        read.append(_hop(pairs))
    return read


def _readable(elements: list[str]) -> list[Hop]:
    read = []
    for element in reversed(elements):
        pairs = _pairs(element)
        if pairs is None:
            break
        read.append(_hop(pairs))
    return read


def _hop(pairs: dict[str, str]) -> Hop:
    return Hop(pairs.get("for"), pairs.get("proto"))


def _elements(text: str) -> list[str] | None:
    """Split at commas outside quotes; None: a quote is open, so that it is unknown which commas are."""
    elements = []
    position = 0
    while True:
        match = _ELEMENT.match(text, position)
        end = match.end() if match else position
        elements.append(text[position:end])
        if end == len(text):
            # A list may have empty elements (RFC 9110, 5.6.1.2).
            return [element for element in elements if element.strip(_BLANKS)]
        if text[end] != ",":
            return None
        position = end + 1


def _last_element(text: str, most: int) -> tuple[dict[str, str], str] | None:
    """Return the pairs of the shortest readable element at the end, and the text before it."""
    comma = len(text)
    for _ in range(most):
        comma = text.rfind(",", 0, comma)
        if comma < 0:
            return None
        pairs = _pairs(text[comma + 1 :])
        if pairs:
            return pairs, text[:comma]
    return None


def _pairs(element: str) -> dict[str, str] | None:
    """Return the pairs of an element by their names in lower case, or None if it breaks the grammar."""
    pairs: dict[str, str] = {}
    position = 0
    while True:
        position = _after_blanks(element, position)
        if match := _PAIR.match(element, position):
            name = match[1].lower()
            if name in pairs:
                return None
            pairs[name] = _unquoted(match[2])
            position = _after_blanks(element, match.end())
        if position == len(element):
            return pairs
        if element[position] != ";":
            return None
        position += 1


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
