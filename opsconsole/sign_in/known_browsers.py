"""Browsers in which a user has logged in before, with all factors: others' failures do not lock them out.

Such a browser has a cookie for each of its users. It proves nothing but that: whoever has it still needs the password and
the second factor, and is counted for itself. Its signature covers the user's password hash, so a new password ends it.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, User
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest
from django.http.response import HttpResponseBase

COOKIE = "opsconsole_browser_"
LASTS = timedelta(days=180)
# A cookie that is older than this is sent anew.
RENEWED_AFTER = timedelta(days=30)


def known_as(request: HttpRequest, username: str) -> str:
    """Return an id of this browser if this user is known by it, by a valid session or the cookie; otherwise an empty string."""
    if request.user.is_authenticated and request.user.get_username() == username:
        return identify(request, request.user) or _id_of_session(request)
    if not any(name.startswith(_name("")) for name in request.COOKIES):
        return ""
    user = get_user_model().objects.filter(username=username).first()
    return identify(request, user) if user else ""


def identify(request: HttpRequest, user: User | AnonymousUser, lasts: timedelta = LASTS) -> str:
    """Return the id in the cookie for this user, or an empty string if there is none that is valid."""
    if not isinstance(user, get_user_model()):
        return ""
    try:
        return _signer(user).unsign(request.COOKIES.get(_name(user.pk), ""), max_age=lasts)
    except BadSignature:
        return ""


def remember(request: HttpRequest, response: HttpResponseBase) -> None:
    """Give the browser its cookie if the user of this request has given all factors."""
    # ConsoleSite.has_permission notes it.
    if not getattr(request, "proved", False) or not request.user.is_authenticated:
        return
    if identify(request, request.user, RENEWED_AFTER):
        return
    user = request.user
    browser = identify(request, user) or secrets.token_hex(8)
    response.set_cookie(
        _name(user.pk),
        _signer(user).sign(browser),
        max_age=LASTS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _id_of_session(request: HttpRequest) -> str:
    if not admin.site.has_permission(request):
        return ""
    return hashlib.sha256(str(request.session.session_key).encode()).hexdigest()[:16]


def _signer(user: User) -> TimestampSigner:
    return TimestampSigner(salt=f"{__name__}:{user.pk}:{user.get_session_auth_hash()}")


def _name(pk: object) -> str:
    return f"{settings.OPSCONSOLE_COOKIE_PREFIX}{COOKIE}{pk}"
