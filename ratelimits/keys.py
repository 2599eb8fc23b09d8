"""API keys: who a caller without a session is."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


def authenticate(request: HttpRequest) -> Any | None:
    """The valid API key that the request carries, or None."""
    return None
