"""Durations: their names in code, and their words, the same on every page, log line and message."""

from __future__ import annotations

import re
from datetime import timedelta

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NO_BREAK = "\N{NO-BREAK SPACE}"
_WITHIN = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b)")


def spell(time: timedelta) -> str:
    """Return a duration in its two largest units: '45 s', '12 min 5 s', '3 h 10 min', '2 d 4 h'."""
    seconds = max(0, int(time.total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {seconds % 60} s" if seconds % 60 else f"{minutes} min"
    return f"{seconds} s"


def brief(seconds: float) -> str:
    """Return a measured duration in one unit, with two digits where it is small: '250 ms', '1.4 s', '12 s', '3.2 min'."""
    for limit, unit, word in ((1, 0.001, "ms"), (60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h")):
        if seconds < limit:
            return f"{_short(seconds / unit)} {word}"
    return f"{_short(seconds / 86_400)} d"


def unbroken(words: str) -> str:
    """Return the words of a duration for a page, whose lines break between '1 h' and '39 min', never within them."""
    return _WITHIN.sub(NO_BREAK, words)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 9.95 else f"{number:,.0f}"
