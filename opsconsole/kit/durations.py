"""Durations in words, the same on every page, log line and message."""

from __future__ import annotations

from datetime import timedelta


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
