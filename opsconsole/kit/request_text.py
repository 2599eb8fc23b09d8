"""The text of requests: characters that PostgreSQL can't store are refused or removed before anything reads them.

An address with a NUL character or invalid UTF-8 is refused, because it can't name anything. Such characters are removed
from headers, cookies and form fields. For the API's documents see ``opsconsole.kit.api_text``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.exceptions import BadRequest
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase

from opsconsole.kit.storable import is_storable, plain_text


class PlainAddressMiddleware:
    """Refuses addresses with 400, and cleans headers and cookies. It comes before everything that reads them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_storable(request.path_info) or not _is_text(request.META.get("QUERY_STRING", "")):
            raise BadRequest("The address has a NUL character or invalid UTF-8.")
        for name, value in request.META.items():
            if name.startswith("HTTP_") and isinstance(value, str) and not is_storable(value):
                request.META[name] = plain_text(value)
        # A quoted cookie spells characters as octal numbers, which its header does not show.
        request.COOKIES = {name: plain_text(value) for name, value in request.COOKIES.items()}
        return self.get_response(request)


def _is_text(query: str) -> bool:
    try:
        return "\x00" not in unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        return False


class PlainFormMiddleware:
    """Cleans form fields. It comes after the CSRF middleware, which decides whether a form is read at all."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], *_: Any) -> None:
        # Views exempt from CSRF are for programs, which read the body and not a form.
        if request.method == "POST" and not getattr(view, "csrf_exempt", False):
            request.POST = _plain_form(request.POST)  # type: ignore[assignment]  # QueryDict, made immutable


def _plain_form(form: QueryDict) -> QueryDict:
    plain = QueryDict(mutable=True, encoding=form.encoding)
    for name, values in form.lists():
        plain.setlist(plain_text(name), [plain_text(value) for value in values])
    plain._mutable = False  # noqa: SLF001 - as Django makes the forms of its requests
    return plain
