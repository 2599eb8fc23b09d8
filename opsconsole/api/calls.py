"""The shorter way of a call that a program makes: a request below ``/api/`` that is for no page and brings no session.

Such a call passes the middleware of ``opsconsole.middleware.OF_CALLS``. Everything else, such as the same route asked by a signed-in
browser, passes the whole list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from opsconsole.kit import problems
from opsconsole.middleware import OF_CALLS
from opsconsole.sign_in import proxy_header

# Below ``/api/``, these are for browsers, too.
PAGES = frozenset({"/api/", "/api/docs", "/api/openapi.json"})
# An answer to a program is no page: it loads nothing, and appears in no frame.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}


class CallsMiddleware:
    """Answers calls of programs by the shorter way, and leaves all other requests to the middleware that follows."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.answer = _Handler().chain

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_call(request):
            return self.get_response(request)
        request.user = AnonymousUser()
        response: HttpResponseBase = self.answer(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        return response


def is_call(request: HttpRequest) -> bool:
    """Tell whether this is a call of a program: nobody can be signed in, by a cookie or by a proxy's header."""
    path, meta = request.path_info, request.META
    return (
        path.startswith(problems.PREFIX)
        and path not in PAGES
        and not meta.get("HTTP_COOKIE")
        and not proxy_header.is_sent(meta)
    )


class _Handler(BaseHandler):
    """Django's own way from a request to its view and back, with the middleware of calls."""

    def __init__(self) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        ask_the_view = self._get_response  # type: ignore[attr-defined]  # not in the stubs
        self.chain: Callable[[HttpRequest], Any] = convert_exception_to_response(ask_the_view)
        for name in reversed(OF_CALLS):
            middleware = import_string(name)(self.chain)
            if hasattr(middleware, "process_view"):
                self._view_middleware.insert(0, middleware.process_view)
            if hasattr(middleware, "process_exception"):
                self._exception_middleware.append(middleware.process_exception)
            self.chain = convert_exception_to_response(middleware)
