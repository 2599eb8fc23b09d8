"""The lengths of bodies: a request's is stated or refused with 411, never taken as empty; a response's is always stated.

The shipped server (``opsconsole.serving``) puts chunks together and states their length, so it never passes them on. Other
servers do: under WSGI, Django would see no body, and under ASGI one without a limit.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from opsconsole.kit import problems

HEADER = "HTTP_TRANSFER_ENCODING"
WITHOUT_BODY = {204, 304}


class RequestLengthMiddleware:
    """Refuses requests whose body came in chunks and was passed on as such."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.META.get(HEADER):
            response = HttpResponse(status=411)
            problems.replace_body(response, problems.SENTENCES[411], "text/plain")
            return response
        return self.get_response(request)


class ResponseLengthMiddleware:
    """States the length of responses that others made before Django's CommonMiddleware, so that connections are kept."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if isinstance(response, HttpResponse) and response.status_code not in WITHOUT_BODY:
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response
