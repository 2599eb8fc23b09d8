"""Sign-in with a header of a trusted proxy, such as oauth2-proxy; off unless OPSCONSOLE_SIGN_IN_HEADER names the header.

Whoever can write the header can sign in as anybody, so it is accepted from trusted peers only and removed from
every other request. It signs in to existing accounts and creates none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import RemoteUserBackend
from django.contrib.auth.middleware import RemoteUserMiddleware
from django.http import HttpRequest, HttpResponse

from ratelimits.identity import client_ip


def header_in_meta() -> str:
    """Return the header's name in WSGI: 'X-Forwarded-User' becomes 'HTTP_X_FORWARDED_USER'."""
    name: str = settings.OPSCONSOLE_SIGN_IN_HEADER
    return f"HTTP_{name.upper().replace('-', '_')}"


def is_sent(meta: Mapping[str, Any]) -> bool:
    """Tell whether a request has the header, if any peer may sign in with it."""
    return bool(settings.OPSCONSOLE_SIGN_IN_HEADER) and header_in_meta() in meta


class ProxyUserBackend(RemoteUserBackend):
    """Creates no users and rejects inactive ones (Django's ``user_can_authenticate``)."""

    create_unknown_user = False


class ProxySignInMiddleware:
    """Django's sign-in with a header, used only where a trusted proxy is the peer."""

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
    """Ends a session that the proxy opened with the first request without the header."""

    @property
    def header(self) -> str:  # type: ignore[override]  # read per request, because a setting names it
        return header_in_meta()

    def process_request(self, request: HttpRequest) -> None:
        name = request.META.get(self.header)
        # A failed sign-in would count as a wrong password, and five of them would lock out the proxy's address.
        if name and request.user.get_username() != name and not _may_sign_in(name):
            del request.META[self.header]
        super().process_request(request)


def _may_sign_in(name: str) -> bool:
    return get_user_model().objects.filter(username=name, is_active=True).exists()
