"""Counts that stop: nobody needs to know exactly how many more than ten thousand there are."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

COUNTED_TO = 10_000


def count(rows: QuerySet[Any]) -> int:
    return rows.order_by().values("pk")[: COUNTED_TO + 1].count()


def runs(number: int) -> str:
    return many(number, "run")


def many(number: int, noun: str) -> str:
    return f"{figure(number)} {noun}{'' if number == 1 else 's'}"


def figure(number: int) -> str:
    """A count as shown: exact up to ``COUNTED_TO``, above it "10,000+"."""
    return f"{COUNTED_TO:,}+" if number > COUNTED_TO else f"{number:,}"
