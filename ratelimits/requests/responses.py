"""Responses to rate-limited clients: an RFC 9457 problem with the contract's fields, and the IETF RateLimit headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django_ratelimit.exceptions import Ratelimited

from opsconsole.kit import problems
from ratelimits.engine.decision import Decision

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class Limited(Ratelimited):  # type: ignore[misc]  # django-ratelimit has no types
    """The request was refused. At least one of the ``decisions`` does not allow it."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        super().__init__("Rate limit exceeded.")
        self.decisions = tuple(decisions)


def headers(decisions: Iterable[Decision]) -> dict[str, str]:
    """Return ``RateLimit`` and ``RateLimit-Policy``, and for a refused request ``Retry-After`` and ``Cache-Control``."""
    policies, states, waits = [], [], []
    for each in decisions:
        if each.denied:
            continue
        policy = each.snapshot
        policies.append(f'"{policy.name}";q={policy.limit};w={policy.window}')
        states.append(f'"{policy.name}";r={each.remaining};t={each.reset}')
        if not each.allowed:
            waits.append(each.retry_after)
    if not policies:
        return {}
    fields = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
    if waits:
        fields["Retry-After"] = str(max(1, *waits))
        fields["Cache-Control"] = "no-store"
    return fields


def body(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return the body of a 429 response. It describes the policy that refuses for the longest time."""
    refusing = [decision for decision in decisions if not decision.allowed]
    longest = max(refusing, key=lambda decision: decision.retry_after)
    message = f"Rate limit exceeded. Max {longest.limit} requests per {longest.window}s"
    return {
        "type": QUOTA_EXCEEDED,
        "title": "Too many requests",
        "status": 429,
        "detail": message,
        "violated-policies": [decision.policy for decision in refusing],
        "error": "Too many requests",
        "message": message,
        "retryAfter": max(1, longest.retry_after),
    }


def refusal(decisions: Sequence[Decision]) -> HttpResponse:
    """Return a 429 response, or 403 if a policy denies the client's network."""
    if any(decision.denied for decision in decisions):
        problem = {"type": "about:blank", "title": "Forbidden", "status": 403}
        return _unlogged(
            problem, status=403, content_type=problems.MEDIA_TYPE, headers={"Cache-Control": "no-store"}
        )
    return _unlogged(
        body(decisions), status=429, content_type=problems.MEDIA_TYPE, headers=headers(decisions)
    )


def _unlogged(*args: Any, **kwargs: Any) -> JsonResponse:
    """Create a response that Django does not log.

    Django logs every response with status 400 or above, so a flood of refused requests would fill the log. They are
    in the records anyway.
    """
    response = JsonResponse(*args, **kwargs)
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's own marker
    return response


def limited(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request refused by a view's decorator (django-ratelimit's ``RATELIMIT_VIEW``)."""
    decisions = exception.decisions if isinstance(exception, Limited) else ()
    if not decisions:
        return HttpResponse(status=429, headers={"Cache-Control": "no-store"})
    return refusal(decisions)
