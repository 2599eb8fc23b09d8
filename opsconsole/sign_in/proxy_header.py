"""Sign-in by a header of a trusted proxy, such as oauth2-proxy; off unless OPSCONSOLE_SIGN_IN_HEADER names the header.

Whoever may write the header is whoever he says he is, so it is believed from trusted peers alone and taken out
of every other request. It opens an account that somebody made; it makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import RemoteUserBackend
from django.contrib.auth.middleware import RemoteUserMiddleware
from django.http import HttpRequest, HttpResponse

from ratelimits.identity import client_ip


def header_in_meta() -> str:
    """The name under which WSGI gives the header: 'X-Forwarded-User' comes as 'HTTP_X_FORWARDED_USER'."""
    name: str = settings.OPSCONSOLE_SIGN_IN_HEADER
    return f"HTTP_{name.upper().replace('-', '_')}"


class ProxyUserBackend(RemoteUserBackend):
    """Nobody is created; who is switched off stays out (Django's own ``user_can_authenticate``)."""

    create_unknown_user = False


class ProxySignInMiddleware:
    """Django's own sign-in by a header, asked only where a trusted proxy is the peer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.sign_in: Callable[[HttpRequest], Any] = _SignIn(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not settings.OPSCONSOLE_SIGN_IN_HEADER:
            return self.get_response(request)
        if not client_ip.came_from_trusted(request.META):
            request.META.pop(header_in_meta(), None)
        response: HttpResponse = self.sign_in(request)
        return response


class _SignIn(RemoteUserMiddleware):
    """A session that the proxy opened ends with the first request that comes without the header."""

    @property
    def header(self) -> str:  # type: ignore[override]  # read with each request: the setting names it
        return header_in_meta()

    def process_request(self, request: HttpRequest) -> None:
        name = request.META.get(self.header)
        # Not left to fail: the failure would count as a guess, and five of them lock the proxy's address out.
        if name and request.user.get_username() != name and not _may_sign_in(name):
            del request.META[self.header]
        super().process_request(request)


def _may_sign_in(name: str) -> bool:
    return get_user_model().objects.filter(username=name, is_active=True).exists()
