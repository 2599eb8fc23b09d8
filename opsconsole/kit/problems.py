"""API errors as RFC 9457 problem documents, including errors from outside its routes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from opsconsole.kit.errors import OpsConsoleError

PREFIX = "/api/"
MEDIA_TYPE = "application/problem+json"
VERSION = "1.0"

SENTENCES = {
    400: "The request can't be read.",
    404: "There is nothing at this address. See /api/docs.",
    405: "This address does not support this method. The Allow header names the supported ones.",
    411: "The length of the body is not stated. Send Content-Length.",
    413: "The request is larger than the console accepts.",
    500: "The console failed. The error was logged. Trying again may help.",
}
# After a failure in the middle of a request that may change something.
FAILED_IN_A_CHANGE = "The console failed. The error was logged. Whether anything was changed is unknown."
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


class Problem(OpsConsoleError):
    """An error response. ``members`` are what a program needs besides the sentence."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> HttpResponse:
        text = document(self.status, self.detail, **self.members)
        return HttpResponse(text, status=self.status, content_type=MEDIA_TYPE, headers=self.headers)


def document(status: int, detail: str, **members: Any) -> str:
    """Return the problem as JSON. ``type`` is about:blank: the status and ``reason`` identify the problem."""
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail} | members)


class ApiMiddleware:
    """Adds the version to each response below ``/api/``, forbids caching, and turns errors into problem documents.

    A route that answers GET also answers HEAD: the server sends the same without the body.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        method = request.method
        response = self.get_response(request)
        # What is around this, and writes of the request, is to see what was sent.
        request.method = method
        if request.path_info.startswith(PREFIX):
            response["API-Version"] = VERSION
            response["Cache-Control"] = "no-store"
            if isinstance(response, HttpResponse) and response.status_code >= 400:
                _speak_json(response, changing=request.method not in SAFE_METHODS)
            if response.headers.get("Allow") == "GET":
                response.headers["Allow"] = "GET, HEAD"
        return response

    def process_view(self, request: HttpRequest, *_: object) -> None:
        """Let the routes, which know nothing of HEAD, see GET. Policies have judged the request by then."""
        if request.method == "HEAD" and request.path_info.startswith(PREFIX):
            request.method = "GET"


def _speak_json(response: HttpResponse, *, changing: bool) -> None:
    """Turn Django's own error pages into problem documents; JSON responses are left alone."""
    if response.headers.get("Content-Type", "").partition(";")[0].endswith("json"):
        return
    detail = SENTENCES.get(response.status_code, HTTPStatus(response.status_code).phrase + ".")
    if changing and response.status_code == 500:
        detail = FAILED_IN_A_CHANGE
    replace_body(response, document(response.status_code, detail), MEDIA_TYPE)


def replace_body(response: HttpResponse, body: str, content_type: str) -> None:
    """Give the response another body, and a Content-Length that counts it.

    Django's CommonMiddleware may already have counted the old body: on a kept connection the client would wait for
    the missing bytes, or take the next answer for them.
    """
    response.content = body
    response["Content-Type"] = content_type
    response["Content-Length"] = str(len(response.content))
