"""API key authentication for django-ninja, and the route through which other services use the limiter."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from ninja.security import APIKeyHeader, HttpBearer

from opsconsole.kit.principal import Principal
from opsconsole.kit.problems import Problem
from ratelimits.api import check_quota
from ratelimits.api.schemas import LimitRequest, LimitResponse
from ratelimits.keys import api_keys
from ratelimits.keys.principals import principal_of
from ratelimits.models import ApiKey
from ratelimits.records import recording
from ratelimits.requests import responses

SCOPE = "limits:check"
CHECK_ROUTE = "(another service)"
# As django-ninja states it.
MEDIA_TYPE = "application/json; charset=utf-8"

router = Router(tags=["For other services"])


class _WithScope:
    """Authentication by an API key: 401 without a valid key, 403 if the key has none of the scopes."""

    def __init__(self, *scopes: str) -> None:
        super().__init__()
        self.scopes = scopes

    def authenticate(self, request: HttpRequest, _presented: Any) -> Any:
        key = api_keys.authenticate(request)
        if api_keys.lookup_failed(request):
            raise Problem(
                503,
                "The API key could not be checked, because the database does not answer. Nothing was changed. Try again.",
                headers={"Retry-After": "5"},
            )
        if key is not None and not set(self.scopes).intersection(key.scopes):
            named = " or ".join(self.scopes)
            api_keys.refuse_scope(request, named)
            raise Problem(
                403, f"This API key does not have the scope '{named}'.", reason="scope", scope=named
            )
        return key and self.caller(request, key)

    def caller(self, _request: HttpRequest, key: ApiKey) -> ApiKey | Principal:
        """Return who calls, as routes read it."""
        return key


class KeyInBearer(_WithScope, HttpBearer):
    """``Authorization: Bearer ock_...``"""

    def __call__(self, request: HttpRequest) -> Any:
        # django-ninja's own way builds request.headers, which takes longer than looking at the key.
        sent = request.META.get("HTTP_AUTHORIZATION", "")
        return self.authenticate(request, None) if sent.lower().startswith("bearer ") else None


class KeyHeader(_WithScope, APIKeyHeader):
    """``X-API-Key: ock_...``"""

    param_name = "X-API-Key"


class OperatorKeyInBearer(KeyInBearer):
    """``Authorization: Bearer ock_...``"""

    def caller(self, request: HttpRequest, key: ApiKey) -> Principal:
        return principal_of(key, request)


class OperatorKeyHeader(KeyHeader):
    """``X-API-Key: ock_...``"""

    def caller(self, request: HttpRequest, key: ApiKey) -> Principal:
        return principal_of(key, request)


@router.post(
    "limits/check",
    response=LimitResponse,
    operation_id="check_limit",
    summary="Count a request of another service, and decide whether it is allowed",
)
def check_limit(request: HttpRequest, check: LimitRequest) -> HttpResponse:
    """Get the same exact decision, headers and body that the console's own clients get, in one call.

    The status is 200 even if your service should refuse the request: see `allowed`, and send `headers` and `body` to
    your client. A 503 with `reason: check_quota` means that your own key has used its quota for this route: nothing was
    decided about the client. Count by yourself until `Retry-After` has passed; `client` says how much is left.
    """
    # The prefix gives other services a namespace of their own, so that they cannot use up the quotas of our clients.
    identity = f"check:{check.identity}"
    decision = check_quota.decide(request, check.policy, identity, check.cost)
    recording.note(decision.policy, identity, CHECK_ROUTE, "POST", decision.outcome)
    # It is what the schema says already: django-ninja need not compare it once more.
    answer = {
        "allowed": decision.allowed,
        "status": 200 if decision.allowed else 429,
        "policy": decision.policy,
        "limit": decision.limit,
        "window": decision.window,
        "remaining": decision.remaining,
        "reset": decision.reset,
        "retry_after": decision.retry_after,
        "degraded": decision.degraded,
        "headers": responses.headers([decision]),
        "body": None if decision.allowed else responses.body([decision]),
    }
    return HttpResponse(json.dumps(answer).encode(), content_type=MEDIA_TYPE)
