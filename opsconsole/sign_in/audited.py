"""Log-ins, log-outs and refusals, as Django tells of them, for the audit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import Error, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from opsconsole.kit import audit, route_patterns
from opsconsole.kit.audit_models import Refusal
from opsconsole.kit.errors import first_line
from opsconsole.sign_in import refusals
from opsconsole.sign_in.oidc import configuration
from ratelimits.identity import client_ip
from ratelimits.keys import api_keys

logger = logging.getLogger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
PAGES = "/admin/"
FORBIDDEN = 403
PASSWORD = "django.contrib.auth.backends.ModelBackend"  # noqa: S105 - the path of a class


def connect() -> None:
    """Listen to Django from now on."""
    user_logged_in.connect(_logged_in, dispatch_uid="opsconsole audit")
    user_logged_out.connect(_logged_out, dispatch_uid="opsconsole audit")
    user_login_failed.connect(_refused, dispatch_uid="opsconsole audit")


class RefusalMiddleware:
    """Counts the changes that a signed-in person was refused, and the calls that an API key was refused for want of a scope."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code != FORBIDDEN:
            return response
        if scope := api_keys.refused_scope(request):
            # The pattern, not the address: a key asks for as many jobs as there are.
            route = request.resolver_match.route if request.resolver_match else request.path_info
            asked = f"{request.method} /{route_patterns.documented(route).lstrip('/')}"
            refusals.count(
                Refusal.Kind.SCOPE,
                address=_address(request),
                subject=f"{api_keys.authenticate(request)} lacks {scope}: {asked}",
            )
        elif (
            request.method not in SAFE
            and request.path_info.startswith(PAGES)
            and request.user.is_authenticated
        ):
            refusals.count(
                Refusal.Kind.PERMISSION,
                who=request.user.get_username(),
                address=_address(request),
                subject=f"{request.method} {request.path_info}",
            )
        return response


def _logged_in(request: HttpRequest | None, user: Any, **_: Any) -> None:
    way = request.session.get(BACKEND_SESSION_KEY, "") if request is not None and _was_sent(request) else ""
    beside = way == PASSWORD and configuration.is_on()
    if beside:
        logger.warning("%s logged in with a password, although single sign-on is set up.", user)
    _note(request, user, audit.LOGGED_IN_BESIDE if beside else audit.LOGGED_IN)


def _logged_out(request: HttpRequest | None, user: Any, **_: Any) -> None:
    if user is not None:
        _note(request, user, audit.LOGGED_OUT)


def _refused(request: HttpRequest | None = None, credentials: Any = None, **_: Any) -> None:
    if request is None:
        return
    typed = str((credentials or {}).get("username", ""))
    refusals.count(Refusal.Kind.LOG_IN, who=typed, address=_address(request))


def _note(request: HttpRequest | None, user: Any, did: str) -> None:
    """Write a line, if a client asked for it. A log-in never fails because the audit can't be written."""
    if request is None or not _was_sent(request):
        return
    origin = f"From {_address(request) or 'nowhere'}."
    # How a sign-in came about, where that is not the password.
    way = getattr(request, "signed_in_by", "")
    try:
        with transaction.atomic():
            audit.log(user, [user], did, why=audit.NOT_ASKED, result=f"{way} {origin}".strip())
    except Error as error:
        logger.warning("%s %s was not written to the audit: %s", user, did, first_line(error))


def _was_sent(request: HttpRequest) -> bool:
    """Tell whether a client sent this request: ``login()`` is also called with others."""
    return "REQUEST_METHOD" in request.META


def _address(request: HttpRequest) -> str:
    address = client_ip.client_address(request.META)
    return str(address) if address else ""
