"""The API's keys as django-ninja asks for them, and the route by which other services use the limiter."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja.security import APIKeyHeader, HttpBearer

from opsconsole.problems import Problem
from ratelimits import keys
from ratelimits.models import ApiKey


class _WithScope:
    """Lets a valid key with the scope through: 401 without a valid key, 403 without the scope."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, _presented: Any) -> ApiKey | None:
        key = keys.authenticate(request)
        if keys.was_unanswered(request):
            raise Problem(
                503,
                "The API key can't be checked: the database does not answer.",
                headers={"Retry-After": "5"},
            )
        if key is not None and self.scope not in key.scopes:
            raise Problem(403, f"This API key has no scope '{self.scope}'.", reason="scope", scope=self.scope)
        return key


class KeyInBearer(_WithScope, HttpBearer):
    """``Authorization: Bearer ock_...``"""


class KeyHeader(_WithScope, APIKeyHeader):
    """``X-API-Key: ock_...``"""

    param_name = "X-API-Key"
