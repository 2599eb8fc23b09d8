"""What a limited client is told: the contract's body within RFC 9457, and the IETF draft's RateLimit headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django_ratelimit.exceptions import Ratelimited

from ratelimits.engine.decision import Decision

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
PROBLEM = "application/problem+json"


class Limited(Ratelimited):  # type: ignore[misc] # it carries no types
    """A request was refused under these ``decisions``, at least one of which does not allow it."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        super().__init__("Rate limit exceeded.")
        self.decisions = tuple(decisions)


def headers(decisions: Iterable[Decision]) -> dict[str, str]:
    """``RateLimit`` and ``RateLimit-Policy`` for an answer of a limited route; Retry-After and no-store when refused."""
    told = [decision for decision in decisions if not decision.denied]
    if not told:
        return {}
    found = {
        "RateLimit-Policy": ", ".join(f'"{each.policy}";q={each.limit};w={each.window}' for each in told),
        "RateLimit": ", ".join(f'"{each.policy}";r={each.remaining};t={each.reset}' for each in told),
    }
    if any(not each.allowed for each in told):
        found["Retry-After"] = str(max(1, *(each.retry_after for each in told), 0))
        found["Cache-Control"] = "no-store"
    return found


def body(decisions: Sequence[Decision]) -> dict[str, Any]:
    """The body of a 429. Of several policies the one that holds longest speaks."""
    refused = [decision for decision in decisions if not decision.allowed]
    longest = max(refused, key=lambda decision: decision.retry_after)
    message = f"Rate limit exceeded. Max {longest.limit} requests per {longest.window}s"
    return {
        "type": QUOTA_EXCEEDED,
        "title": "Too many requests",
        "status": 429,
        "detail": message,
        "violated-policies": [decision.policy for decision in refused],
        "error": "Too many requests",
        "message": message,
        "retryAfter": max(1, longest.retry_after),
    }


def refusal(decisions: Sequence[Decision]) -> HttpResponse:
    """429, or 403 for an address that a policy denies."""
    if any(decision.denied for decision in decisions):
        told = {"type": "about:blank", "title": "Forbidden", "status": 403}
        return _unlogged(told, status=403, content_type=PROBLEM, headers={"Cache-Control": "no-store"})
    return _unlogged(body(decisions), status=429, content_type=PROBLEM, headers=headers(decisions))


def _unlogged(*told: Any, **how: Any) -> JsonResponse:
    """Django writes a line for each answer from 400 on: a flood would fill the log. The records have it."""
    response = JsonResponse(*told, **how)
    response._has_been_logged = True  # type: ignore[attr-defined] # noqa: SLF001 - what it looks at
    return response


def limited(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The answer when a view's decorator refused (``RATELIMIT_VIEW`` of django-ratelimit)."""
    decisions = exception.decisions if isinstance(exception, Limited) else ()
    if not decisions:
        return HttpResponse(status=429, headers={"Cache-Control": "no-store"})
    return refusal(decisions)
