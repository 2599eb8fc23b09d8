"""What a page asks the database: its statements, counted so that caches of a few seconds don't decide a test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

REQUESTS = 3


def fewest_statements(
    client: Client,
    url: str,
    query: dict[str, Any] | None = None,
    *,
    before: Callable[[], None] | None = None,
    headers: Mapping[str, str] | None = None,
    statuses: Collection[int] = (200,),
) -> list[str]:
    """Return the statements of the cheapest of three requests: any of them may read what is cached for seconds.

    ``before`` is called before each request, to forget what only others than the tested one would have cached.
    """

    def ask() -> None:
        status = client.get(url, query or {}, headers=headers or {}).status_code
        assert status in statuses, (url, status)

    return fewest_asked(ask, before=before)


def fewest_asked(ask: Callable[[], Any], *, before: Callable[[], None] | None = None) -> list[str]:
    """Return the same for any request: the statements of the cheapest of three."""
    asked = []
    for _ in range(REQUESTS):
        if before:
            before()
        with CaptureQueriesContext(connection) as captured:
            ask()
        asked.append([each["sql"] for each in captured.captured_queries])
    return min(asked, key=len)
