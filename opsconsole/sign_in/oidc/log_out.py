"""The end of a session that single sign-on opened: here, and then at the provider, where the browser goes for it.

The way there is a page that moves on by itself, not a redirect: the log-out is a form, and the content security policy lets no
form lead to another site.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import BACKEND_SESSION_KEY
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from opsconsole.sign_in.oidc import backend, configuration, provider
from opsconsole.sign_in.oidc.errors import ProviderAway

logger = logging.getLogger(__name__)

# The ID token, in the session: by it the provider knows whose session ends.
ID_TOKEN = "oidc_id_token"  # noqa: S105 - a name


@dataclass(frozen=True)
class Leaving:
    """``address``: where the browser logs out at the provider; empty where that has no such address or can't be asked."""

    address: str


def of_session(request: HttpRequest) -> Leaving | None:
    """Return how a session that single sign-on opened ends at the provider; None for any other session. Asked before it ends."""
    if request.method != "POST" or request.session.get(BACKEND_SESSION_KEY) != backend.PATH:
        return None
    if not configuration.is_on():
        return None
    back_to = request.build_absolute_uri(reverse("admin:login"))
    try:
        return Leaving(provider.log_out_address(back_to, request.session.get(ID_TOKEN, "")))
    except ProviderAway as error:
        logger.warning("Single sign-on: nobody can be logged out at the identity provider: %s", error)
        return Leaving("")


def page(request: HttpRequest, leaving: Leaving) -> TemplateResponse:
    """Say that the session here has ended, and move on to the provider."""
    context = {
        **admin.site.each_context(request),
        "title": "Logged out",
        "address": leaving.address,
        "name": settings.OPSCONSOLE_OIDC_NAME,
    }
    response = TemplateResponse(request, "admin/oidc/logged_out.html", context)
    response["Cache-Control"] = "no-store"
    return response
