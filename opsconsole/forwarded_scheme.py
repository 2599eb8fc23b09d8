"""The scheme that a proxy tells in X-Forwarded-Proto, believed only if the proxy is trusted.

Django reads the header (SECURE_PROXY_SSL_HEADER). From any other peer it is removed first.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from ratelimits.identity import client_ip

HEADER = "HTTP_X_FORWARDED_PROTO"


class ForwardedSchemeMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if HEADER in request.META and not client_ip.came_from_trusted(request.META):
            del request.META[HEADER]
        return self.get_response(request)
