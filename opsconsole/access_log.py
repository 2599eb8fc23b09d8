"""The access log: one line per request, with its status, duration and size, whichever server runs the console.

The query string is left out: it may hold what somebody searched for. Probes and scrapes that succeed are left out, too.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import cast

from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from opsconsole.kit import activity, metrics, tracing
from ratelimits.identity import client_ip

logger = logging.getLogger("opsconsole.access")

HEADER = "X-Request-ID"
_IN_META = "HTTP_X_REQUEST_ID"
# Asked every few seconds by machines. The log says when readiness changes (opsconsole.health).
QUIET = {"/healthz": {200}, "/readyz": {200, 503}, "/metrics": {200}}
UNKNOWN_ROUTE = "(unknown)"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
AREAS = {"admin", "api", "static", "hooks", "healthz", "readyz", "metrics"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AccessLogMiddleware:
    """Gives each request an id, which all lines about it and the response have, and writes the line at its end."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        request_id = _request_id(request)
        with activity.about(request=request_id):
            response = self._traced(request, request_id)
        response.headers[HEADER] = request_id
        if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
            _log_at_the_end(response, request, began)
        else:
            _log(request, response, began, _size(response))
        return response

    def _traced(self, request: HttpRequest, request_id: str) -> HttpResponseBase:
        if request.path_info in QUIET or not tracing.is_on():
            return self.get_response(request)
        trusted = client_ip.came_from_trusted(request.META)
        method = _method(request.method)
        about = {"http.request.method": method, "opsconsole.request": request_id}
        caller = request.META.get("HTTP_TRACEPARENT", "") if trusted else ""
        with tracing.span(method, about, kind="SERVER", parent=caller) as span:
            response = self.get_response(request)
            route, status = _route(request), response.status_code
            failed = str(status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
            span.tell(
                {"http.route": route, "http.response.status_code": status},
                name=f"{method} {route}",
                failed=failed,
            )
        return response


def _method(name: str | None) -> str:
    return name if name in METHODS else "OTHER"


def _request_id(request: HttpRequest) -> str:
    """Return the id that a trusted proxy gave the request, or a new one: a client must not choose what logs say."""
    # request.headers is not used here, because building it takes longer than all of this.
    from_proxy: str = request.META.get(_IN_META, "")
    if _REQUEST_ID.fullmatch(from_proxy) and client_ip.came_from_trusted(request.META):
        return from_proxy
    return secrets.token_hex(16)


def _size(response: HttpResponseBase) -> int | None:
    """Return the size of a body that is known before it is sent."""
    if isinstance(response, HttpResponse):
        return len(response.content)
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _log_at_the_end(response: StreamingHttpResponse, request: HttpRequest, began: float) -> None:
    """Write the line when the server closes the response: all was sent, or the client has gone."""
    sizes: list[int] = []
    if not response.is_async:
        response.streaming_content = _counted(cast(Iterable[bytes], response.streaming_content), sizes)
    close = response.close

    def close_and_log() -> None:
        if response.closed:
            return
        close()
        _log(request, response, began, None if response.is_async else sum(sizes))

    response.close = close_and_log  # type: ignore[method-assign]  # Django has no hook for the end of a response


def _counted(parts: Iterable[bytes], sizes: list[int]) -> Iterator[bytes]:
    for part in parts:
        sizes.append(len(part))
        yield part


def _log(request: HttpRequest, response: HttpResponseBase, began: float, size: int | None) -> None:
    seconds = time.perf_counter() - began
    count(request.method or "-", _route(request), response.status_code, seconds)
    if response.status_code in QUIET.get(request.path_info, ()):
        return
    write(
        request.method or "-",
        request.path,
        response.status_code,
        seconds,
        size=size,
        client=client_ip.client_address(request.META),
        request=response.headers[HEADER],
    )


def _route(request: HttpRequest) -> str:
    """Return the pattern of the address, because addresses have ids."""
    if request.resolver_match is not None:
        return f"/{request.resolver_match.route}"
    if request.path_info in QUIET:
        return request.path_info
    static = f"/{settings.STATIC_URL.strip('/')}/"
    return static if request.path.startswith(static) else UNKNOWN_ROUTE


def count(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request for /metrics."""
    if not metrics.are_on():
        return
    method = _method(method)
    metrics.REQUESTS.count(method=method, route=route, status=str(status))
    area = route.strip("/").partition("/")[0]
    metrics.REQUEST_SECONDS.observe(seconds, area=area if area in AREAS else "other")


def write(method: str, path: str, status: int, seconds: float, **facts: object) -> None:
    """Write the line of one request, unless OPSCONSOLE_ACCESS_LOG is off."""
    if settings.OPSCONSOLE_ACCESS_LOG and logger.isEnabledFor(logging.INFO):
        known = {"status": status, "ms": round(seconds * 1000, 1)} | facts
        present = {name: fact for name, fact in known.items() if fact is not None}
        # As logger.info does, without searching the stack for the place in the code, which is always this one.
        logger.handle(
            logger.makeRecord(
                logger.name,
                logging.INFO,
                __file__,
                0,
                "%s %s",
                (method, path),
                None,
                extra={"facts": present},
            )
        )
