"""One trivial view, limited by address to 100 requests per minute with each candidate's own API."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django_ratelimit.decorators import ratelimit
from django_smart_ratelimit import rate_limit
from rest_framework.throttling import SimpleRateThrottle

from ratelimits.models import KEPT, RateLimitRequest
from ratelimits.requests.decorators import rate_limited

View = Callable[[HttpRequest], HttpResponse]
LIMIT, WINDOW = 100, timedelta(minutes=1)
RATE = "100/m"


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def refused(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return HttpResponse("Too many requests", status=429)


class Throttle(SimpleRateThrottle):  # type: ignore[misc]  # it has no types
    rate = RATE
    scope = "bench"

    def get_cache_key(self, request: HttpRequest, view: Any) -> str:
        return f"throttle:{self.get_ident(request)}"


def throttled(request: HttpRequest) -> HttpResponse:
    """Use DRF's throttle without the rest of DRF, whose cost would count against it."""
    return view(request) if Throttle().allow_request(request, view) else refused(request)


def plain(request: HttpRequest) -> HttpResponse:
    """Limit with the contract's table and three ORM statements, as a first draft would."""
    key, now = request.META["REMOTE_ADDR"], timezone.now()
    if RateLimitRequest.objects.filter(key=key, created_at__gt=now - WINDOW).count() >= LIMIT:
        return refused(request)
    RateLimitRequest.objects.create(key=key, endpoint=request.path, method=request.method or "")
    RateLimitRequest.objects.filter(created_at__lt=now - KEPT).delete()
    return view(request)


def _limited(limiter: str) -> View:
    match limiter:
        case "ours":
            return rate_limited("standard")(view)
        case "stock":
            return ratelimit(key="ip", rate=RATE)(view)  # type: ignore[no-any-return]  # it has no types
        case "smart":
            return rate_limit(key="ip", rate=RATE, algorithm="sliding_window")(view)  # type: ignore[no-any-return]  # it has no types
        case "drf":
            return throttled
        case "plain":
            return plain
        case _:
            return view


urlpatterns = [path("", _limited(os.environ["BENCH_LIMITER"]))]
