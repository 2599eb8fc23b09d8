"""Forms that could not be taken because their session had ended or is another one: what somebody wrote is shown to be copied."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme

View: TypeAlias = Callable[..., HttpResponse]

# What people write by hand. Every other field is chosen again in a moment, or is a secret.
WRITTEN = re.compile(r"(?:^|[-_])(reason|payload|body|note)$")


def kept(view: View) -> View:
    """Return the view of a page that answers a form whose session has ended with what was written, in place of the log-in."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if (
            request.method == "POST"
            and not request.user.is_authenticated
            and is_ours(request)
            and request.path != reverse("admin:logout")
        ):
            return _page(request, "session_ended.html")
        return view(request, *args, **kwargs)

    return answer


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose token is not that of the session (CSRF_FAILURE_VIEW)."""
    return _page(request, "403_csrf.html")


def _page(request: HttpRequest, template: str) -> HttpResponse:
    context = {"written": written(request), "form": form_of(request)}
    response = HttpResponseForbidden(render_to_string(template, context))
    add_never_cache_headers(response)
    return response


def is_ours(request: HttpRequest) -> bool:
    """Tell whether the browser says that a page of the console sent this. What another site sent is not shown in our name."""
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"


def written(request: HttpRequest) -> list[tuple[str, str]]:
    """Return what somebody wrote into the form, each with the name of its field."""
    if not is_ours(request):
        return []
    return [
        (found[1].capitalize(), text)
        for name, texts in request.POST.lists()
        if (found := WRITTEN.search(name))
        for text in texts
        if text.strip()
    ]


def form_of(request: HttpRequest) -> str:
    """Return the address of the page that the form is on, as far as the browser tells it."""
    page = request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure()):
        return request.path
    place = urlsplit(page)
    if place.path.startswith("//"):
        # Without its host, it would be the address of another one.
        return request.path
    return place._replace(scheme="", netloc="", fragment="").geturl() or request.path
