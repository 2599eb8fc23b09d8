"""Who calls a route about jobs."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from django.http import HttpRequest


class Caller(Protocol):
    """The API key of a request. ``lineage``: the first of the keys that it succeeds, or itself."""

    pk: UUID
    name: str

    @property
    def lineage(self) -> UUID: ...


class Called(HttpRequest):
    auth: Caller
