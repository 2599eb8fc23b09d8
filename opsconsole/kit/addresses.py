"""Addresses of pages: those that a list repeats on each of its rows, found once per process instead of once per row, and those
that were stored by a process that serves no pages."""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.urls import get_script_prefix, get_urlconf, reverse


def fixed(view: str) -> str:
    """Return the address of a view without parameters."""
    return _of(view, get_script_prefix(), get_urlconf())


@lru_cache(maxsize=256)
def _of(view: str, prefix: str, urlconf: str | None) -> str:
    return reverse(view, urlconf=urlconf)


def mounted(link: str) -> str:
    """Return the stored address of a page below the path of the console, which not every process knows that stores one."""
    return below(settings.FORCE_SCRIPT_NAME or "", link)


def below(name: str, link: str) -> str:
    """Return the address of a page below this path, under which it may be already."""
    return link if not link.startswith("/") or link.startswith(f"{name}/") else name + link
