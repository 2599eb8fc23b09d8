"""Intervals in each style in which PostgreSQL prints them: psycopg reads its default style only, a database may have another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from psycopg.types.datetime import IntervalLoader

_ISO_8601 = re.compile(r"(-?[\d.]+)([YMDHS])")
_SQL_STANDARD = re.compile(r"([+-]?)(?:(\d+)-(\d+)|(\d+):(\d+):([\d.]+)|(\d+))")
_VERBOSE = re.compile(r"(-?[\d.]+) (year|mon|day|hour|min|sec)")
# A year and a month as psycopg counts them.
_SECONDS = {"year": 365 * 86_400, "mon": 30 * 86_400, "day": 86_400, "hour": 3_600, "min": 60, "sec": 1}
_DATE_UNITS = {"Y": "year", "M": "mon", "D": "day"}
_TIME_UNITS = {"H": "hour", "M": "min", "S": "sec"}


class AnyStyleIntervalLoader(IntervalLoader):
    """Loads an interval, whatever IntervalStyle its session has."""

    def load(self, data: Any) -> timedelta:
        try:
            return super().load(data)
        except NotImplementedError:
            return read(bytes(data).decode())


def read(text: str) -> timedelta:
    """Return an interval in the style iso_8601, sql_standard or postgres_verbose."""
    if text.startswith("P"):
        date, _, time = text.partition("T")
        return _sum((number, _DATE_UNITS[unit]) for number, unit in _ISO_8601.findall(date)) + _sum(
            (number, _TIME_UNITS[unit]) for number, unit in _ISO_8601.findall(time)
        )
    if text.startswith("@"):
        found = _sum(_VERBOSE.findall(text))
        return -found if text.endswith(" ago") else found
    return _sql_standard(text)


def _sum(parts: Iterable[tuple[str, str]]) -> timedelta:
    return sum((timedelta(seconds=float(number) * _SECONDS[unit]) for number, unit in parts), timedelta())


def _sql_standard(text: str) -> timedelta:
    """Return the sum of the fields: a sign holds for those behind it, until the next one."""
    total, sign = timedelta(), 1
    for signed, years, months, hours, minutes, seconds, days in _SQL_STANDARD.findall(text):
        sign = {"-": -1, "+": 1}.get(signed, sign)
        total += sign * timedelta(
            days=365 * int(years or 0) + 30 * int(months or 0) + int(days or 0),
            hours=int(hours or 0),
            minutes=int(minutes or 0),
            seconds=float(seconds or 0),
        )
    return total
