"""The API's keys as django-ninja asks for them, and the route by which other services use the limiter."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router
from ninja.security import APIKeyHeader, HttpBearer

from opsconsole.kit.problems import Problem
from ratelimits.api.schemas import LimitAnswer, LimitRequest
from ratelimits.engine import store
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey
from ratelimits.records import recording
from ratelimits.requests import responses

CHECK_ROUTE = "(another service)"

router = Router(tags=["For other services"])


class _WithScope:
    """Lets a valid key with the scope through: 401 without a valid key, 403 without the scope."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, _presented: Any) -> ApiKey | None:
        key = api_keys.authenticate(request)
        if api_keys.was_unanswered(request):
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


@router.post(
    "limits/check",
    response=LimitAnswer,
    operation_id="check_limit",
    summary="Count a request of another service, and hear whether it may go on",
)
def check_limit(request: HttpRequest, asked: LimitRequest) -> Any:
    """The same exact decision, headers and body that the console's own clients get, in one call.

    The answer is 200 also when the request is to be refused: `allowed` says so, `headers` and `body` are what to
    send. A 429 of this call itself means that your key has called too often.
    """
    # A name space of its own: nobody can use up the quota of the console's own clients.
    decision = store.check(asked.policy, f"check:{asked.identity}", cost=asked.cost)
    recording.note(decision.policy, f"check:{asked.identity}", CHECK_ROUTE, "POST", decision.outcome)
    return {
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
