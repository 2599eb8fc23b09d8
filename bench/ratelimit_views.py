"""One trivial view, limited to 100 a minute by address in the way of each candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django_ratelimit.decorators import ratelimit
from django_smart_ratelimit import rate_limit
from rest_framework.throttling import SimpleRateThrottle

from ratelimits.decorators import rate_limited

View = Callable[[HttpRequest], HttpResponse]
RATE = "100/m"
COUNT = "SELECT count(*) FROM plain_requests WHERE key = %s AND created_at > now() - interval '60 seconds'"
INSERT = "INSERT INTO plain_requests (key, endpoint, method) VALUES (%s, %s, %s)"
DELETE = "DELETE FROM plain_requests WHERE created_at < now() - interval '1 hour'"


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


def refused(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return HttpResponse("Too many requests", status=429)


class Throttle(SimpleRateThrottle):  # type: ignore[misc] # it carries no types
    rate = RATE
    scope = "bench"

    def get_cache_key(self, request: HttpRequest, view: Any) -> str:
        return f"throttle:{self.get_ident(request)}"


def throttled(request: HttpRequest) -> HttpResponse:
    """DRF's throttle without the rest of DRF, which would be counted against it."""
    return view(request) if Throttle().allow_request(request, view) else refused(request)


def plain(request: HttpRequest) -> HttpResponse:
    key = request.META["REMOTE_ADDR"]
    with connection.cursor() as cursor:
        cursor.execute(COUNT, [key])
        if cursor.fetchone()[0] >= 100:
            return refused(request)
        cursor.execute(INSERT, [key, request.path, request.method])
        cursor.execute(DELETE)
    return view(request)


def _limited(limiter: str) -> View:
    match limiter:
        case "ours":
            return rate_limited("standard")(view)
        case "stock":
            return ratelimit(key="ip", rate=RATE)(view)  # type: ignore[no-any-return]
        case "smart":
            return rate_limit(key="ip", rate=RATE, algorithm="sliding_window")(view)  # type: ignore[no-any-return]
        case "drf":
            return throttled
        case "plain":
            return plain
        case _:
            return view


urlpatterns = [path("", _limited(settings.LIMITER))]
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """What gunicorn serves: the load generator says in a header who each request comes from, alike for all."""
    environ["REMOTE_ADDR"] = environ.get("HTTP_X_BENCH_ADDRESS", environ["REMOTE_ADDR"])
    return _django(environ, start_response)
