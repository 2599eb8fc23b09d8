"""The text of requests: characters that PostgreSQL can't store are refused or removed before anything reads them.

An address with a NUL character or invalid UTF-8 is refused, because it can't name anything. Such characters are removed
from headers, cookies and form fields. For the API's documents see ``opsconsole.kit.api_text``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from django.core.exceptions import BadRequest
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase

from opsconsole.kit.storable import is_storable, plain_text

_KEPT_BYTES = re.compile("(?:%[89A-F][0-9A-F])+")


class PlainAddressMiddleware:
    """Refuses addresses with 400, and cleans headers and cookies. It comes before everything that reads them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not (_path_is_text(request) and _is_text(request.META.get("QUERY_STRING", ""))):
            raise BadRequest("The address has a NUL character or invalid UTF-8.")
        for name, value in request.META.items():
            if name.startswith("HTTP_") and isinstance(value, str) and not is_storable(value):
                request.META[name] = plain_text(value)
        # A quoted cookie spells characters as octal numbers, which its header does not show.
        request.COOKIES = {name: plain_text(value) for name, value in request.COOKIES.items()}
        return self.get_response(request)


def _path_is_text(request: HttpRequest) -> bool:
    """Tell whether the path was sent as UTF-8 without NUL, lone surrogates included, which are no UTF-8.

    Django keeps the bytes of other paths as they were sent, such as '%ED%A0%80', and finds nothing under them.
    """
    if not is_storable(request.path_info):
        return False
    sent = getattr(request, "scope", {}).get("raw_path") or request.META.get("RAW_URI", "").partition("?")[0]
    # Where the server doesn't tell what was sent, what Django kept of it is judged.
    return all(map(_is_text, [sent] if sent else _KEPT_BYTES.findall(request.path_info)))


def _is_text(encoded: str | bytes) -> bool:
    try:
        return "\x00" not in unquote_to_bytes(encoded).decode()
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
