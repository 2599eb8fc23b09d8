"""Counts in words, and capped counts: above ten thousand nobody needs the exact number."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

COUNTED_TO = 10_000


def count(rows: QuerySet[Any]) -> int:
    """Count the rows up to ``COUNTED_TO`` + 1; the extra one means that there are more."""
    return capped(rows).count()


def capped(rows: QuerySet[Any], most: int | None = None) -> QuerySet[Any, Any]:
    """Return the rows that a capped count counts, up to ``most`` (``COUNTED_TO`` unless given) + 1."""
    return rows.order_by().values("pk")[: (COUNTED_TO if most is None else most) + 1]


def figure(number: int, most: int | None = None) -> str:
    """Return a count as shown: exact up to ``most`` (``COUNTED_TO`` unless given), above it "10,000+"."""
    most = COUNTED_TO if most is None else most
    return f"{most:,}+" if number > most else f"{number:,}"


def many(number: int, one: str, several: str = "") -> str:
    """Return a capped count with its noun: "1 job", "12 jobs", "10,000+ jobs"."""
    return f"{figure(number)} {plural(number, one, several)}"


def exactly(number: int, one: str, several: str = "") -> str:
    """Return an exact count with its noun: "12,345 jobs"."""
    return f"{number:,} {plural(number, one, several)}"


def of_selected(number: int, selected: int, one: str, several: str = "") -> str:
    """Return how many of the selected rows are meant: "12 jobs", or "9 of 12 jobs" where some are left out."""
    counted = exactly(selected, one, several)
    return counted if number == selected else f"{number:,} of {counted}"


def plural(number: int, one: str, several: str = "") -> str:
    """Return the word that goes with the number; ``several`` is the noun with an s unless given."""
    return one if number == 1 else several or f"{one}s"


def runs(number: int) -> str:
    return many(number, "run")
