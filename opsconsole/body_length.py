"""Requests whose body came in chunks and was passed on as such: refused with 411, never taken as empty.

The shipped server (``opsconsole.serving``) puts the chunks together and states the length, so it never passes them on. Other
servers do: under WSGI, Django would see no body, and under ASGI one without a limit.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from opsconsole.kit import problems

HEADER = "HTTP_TRANSFER_ENCODING"


class BodyLengthMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.META.get(HEADER):
            response = HttpResponse(status=411)
            problems.replace_body(response, problems.SENTENCES[411], "text/plain")
            return response
        return self.get_response(request)
