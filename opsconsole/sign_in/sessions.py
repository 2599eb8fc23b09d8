"""Idle sessions: they end after a time without a click, even if the open page polls.

Django's own way, saving the session with every request, would let a polling page keep it open for ever, and would make
every look at a page a write. The last click is therefore kept in a signed cookie, which is worth nothing without the
cookie of its session. The session itself remembers the log-in, for a browser that lost or withholds the cookie.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest, HttpResponse

# Requests that the page makes by itself carry this header; they do not show that a person is there.
POLL_HEADER = "X-Poll"
LAST_SEEN = "last_seen"
COOKIE = "opsconsole_last_seen"
# The cookie is sent at most this often.
GRAIN_SECONDS = 60


class IdleSessionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        now = int(time.time())
        idle = 0
        if request.user.is_authenticated:
            idle = now - last_seen(request, now)
            if idle > settings.OPSCONSOLE_IDLE_SECONDS:
                logout(request)
        response = self.get_response(request)
        if request.user.is_authenticated:
            if LAST_SEEN not in request.session:
                # Written with the log-in, or once for a session that was made elsewhere.
                request.session[LAST_SEEN] = now
            if idle >= GRAIN_SECONDS and POLL_HEADER not in request.headers:
                _remember(request, response, now)
        return response


def last_seen(request: HttpRequest, now: int) -> int:
    """Return the time of the last click, in seconds, as the session's cookie or else the session itself says."""
    at_log_in: int = request.session.get(LAST_SEEN, now)
    try:
        clicked = int(signer(request.session.session_key).unsign(request.COOKIES.get(COOKIE, "")))
    except BadSignature:
        return at_log_in
    return max(at_log_in, clicked)


def signer(session_key: str | None) -> Signer:
    """Return what signs the time of the last click, for one session only."""
    return Signer(salt=f"{__name__}:{session_key}")


def _remember(request: HttpRequest, response: HttpResponse, now: int) -> None:
    response.set_cookie(
        COOKIE,
        signer(request.session.session_key).sign(str(now)),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
