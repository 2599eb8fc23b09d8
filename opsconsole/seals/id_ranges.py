"""Ranges of ids: how a seal names exactly the rows that it covers, such as '1-8,10'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Range = tuple[int, int]


def of_ids(ids: Iterable[int]) -> list[Range]:
    """Return the ranges of these ascending ids."""
    ranges: list[Range] = []
    for number in ids:
        if ranges and number <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(number, ranges[-1][1]))
        else:
            ranges.append((number, number))
    return ranges


def as_text(ranges: Iterable[Range]) -> str:
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def from_text(text: str) -> list[Range]:
    """Read what ``as_text`` wrote. Raise ``ValueError`` for anything else. An id may be negative."""
    ranges = []
    for part in text.split(",") if text else ():
        # The hyphen of a range stands behind a digit.
        hyphen = part.find("-", 1)
        first, last = (part[:hyphen], part[hyphen + 1 :]) if hyphen > 0 else (part, part)
        ranges.append((int(first), int(last)))
    return ranges


def gaps(within: Range, covered: Iterable[Range]) -> Iterator[Range]:
    """Yield the parts of ``within`` that the ascending ``covered`` ranges leave out."""
    first, last = within
    for begin, end in covered:
        if begin > first:
            yield first, min(begin - 1, last)
        first = max(first, end + 1)
        if first > last:
            return
    if first <= last:
        yield first, last


def size(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def joined(some: Iterable[Range], others: Iterable[Range] = ()) -> list[Range]:
    """Return both lists as ascending ranges that don't touch."""
    whole: list[Range] = []
    for first, last in sorted([*some, *others]):
        if whole and first <= whole[-1][1] + 1:
            whole[-1] = (whole[-1][0], max(whole[-1][1], last))
        else:
            whole.append((first, last))
    return whole
