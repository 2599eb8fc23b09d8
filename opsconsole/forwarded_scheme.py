"""The scheme that a proxy tells, in X-Forwarded-Proto or Forwarded, believed only if the proxy is trusted.

Django reads it from X-Forwarded-Proto (SECURE_PROXY_SSL_HEADER). This replaces what the client may have written there.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from ratelimits.identity import client_ip, untrusted_forwarding
from ratelimits.records import background_thread

HEADER = client_ip.SCHEME


class ForwardedSchemeMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        scheme = client_ip.origin(request.META).scheme
        sent = request.META.pop(HEADER, None)
        if client_ip.came_from_trusted(request.META) and (scheme or sent is not None):
            request.META[HEADER] = scheme or "http"
        if untrusted_forwarding.is_waiting():
            # Only its thread reports what was noted, also where no request is limited.
            background_thread.ensure_running()
        return self.get_response(request)
