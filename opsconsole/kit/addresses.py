"""The addresses that a list repeats on each of its rows, found once per process instead of once per row."""

from __future__ import annotations

from functools import lru_cache

from django.urls import get_script_prefix, get_urlconf, reverse


def fixed(view: str) -> str:
    """Return the address of a view without parameters."""
    return _of(view, get_script_prefix(), get_urlconf())


@lru_cache(maxsize=256)
def _of(view: str, prefix: str, urlconf: str | None) -> str:
    return reverse(view, urlconf=urlconf)
