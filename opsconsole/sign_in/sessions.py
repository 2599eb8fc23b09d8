"""The two limits of a session: a time without a click, even if the open page polls, and a time since the log-in.

Django's own way, saving the session with every request, would let a polling page keep it open for ever, and would make
every look at a page a write. The last click is therefore kept in a signed cookie, which is worth nothing without the
cookie of its session. The session itself remembers the log-in, for a browser that lost or withholds the cookie, and for
the limit since then, which no click extends (``opsconsole.sign_in.session_store`` also lets the stored row end with it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from django.conf import settings
from django.contrib.auth import logout
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest, HttpResponse

from opsconsole.kit.durations import spell
from opsconsole.sign_in import known_browsers
from opsconsole.sign_in.session_store import STARTED, SessionStore

# Requests that the page makes by itself carry this header; they do not show that a person is there.
POLL_HEADER = "X-Poll"
LAST_SEEN = "last_seen"
COOKIE = "opsconsole_last_seen"
# The cookie is sent at most this often.
GRAIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """When a session ends at the latest, and after how long without a click."""

    ends_at: datetime
    idle: timedelta


class IdleSessionMiddleware:
    """Ends sessions at their limits, and notes the last click."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        idle, is_over, had_user = 0, False, request.user.is_authenticated
        if had_user:
            now = now_of(request)
            idle = now - last_seen(request, now)
            is_over = idle > settings.OPSCONSOLE_IDLE_SECONDS or not _is_within(limits(request), now)
            if is_over:
                logout(request)
        response = self.get_response(request)
        if request.user.is_authenticated:
            now = now_of(request)
            if STARTED not in request.session:
                # Written with the log-in, or once for a session that was made elsewhere.
                begin(request, request.session.get(LAST_SEEN, now))
            is_new = not had_user or cookie_name(COOKIE) not in request.COOKIES
            if (is_new or idle >= GRAIN_SECONDS) and not _is_poll(request):
                _remember(request, response, now)
            known_browsers.remember(request, response)
        elif had_user and not is_over:
            # Logged out: nothing is left that ``why_ended`` would explain.
            response.delete_cookie(cookie_name(COOKIE))
        return response


def _is_poll(request: HttpRequest) -> bool:
    """Tell whether a script of a page sent this request, by its own header or by the one that browsers add."""
    return POLL_HEADER in request.headers or request.headers.get("Sec-Fetch-Dest") == "empty"


def begin(request: HttpRequest, at: int | None = None) -> None:
    """Let the limits of this session count from its log-in."""
    request.session[STARTED] = request.session[LAST_SEEN] = now_of(request) if at is None else at


def now_of(request: HttpRequest) -> int:
    """Return the database's time of this request, in seconds."""
    return cast(SessionStore, request.session).now


def _is_within(session: Limits, now: int) -> bool:
    """Tell whether the session has not ended, and did not begin in the future, as one of a host with a fast clock did."""
    left = session.ends_at.timestamp() - now
    return 0 < left <= settings.OPSCONSOLE_SESSION_SECONDS + GRAIN_SECONDS


def limits(request: HttpRequest) -> Limits:
    started = request.session.get(STARTED) or now_of(request)
    ends_at = datetime.fromtimestamp(started + settings.OPSCONSOLE_SESSION_SECONDS, UTC)
    return Limits(ends_at, timedelta(seconds=settings.OPSCONSOLE_IDLE_SECONDS))


def why_ended(request: HttpRequest) -> str:
    """Return a sentence about the session that this browser had, or an empty string if it had none or logged out."""
    if request.user.is_authenticated or not request.COOKIES.get(cookie_name(COOKIE)):
        return ""
    longest = timedelta(seconds=settings.OPSCONSOLE_SESSION_SECONDS)
    return (
        f"Your session has ended. It lasts {spell(longest)} from the login, and ends sooner after "
        f"{spell(limits(request).idle)} without a click or with a new password."
    )


def last_seen(request: HttpRequest, now: int) -> int:
    """Return the time of the last click, in seconds, as the session's cookie or else the session itself says."""
    at_log_in: int = request.session.get(LAST_SEEN, now)
    try:
        clicked = int(
            signer(request.session.session_key).unsign(request.COOKIES.get(cookie_name(COOKIE), ""))
        )
    except BadSignature:
        return at_log_in
    return max(at_log_in, clicked)


def signer(session_key: str | None) -> Signer:
    """Return what signs the time of the last click, for one session only."""
    return Signer(salt=f"{__name__}:{session_key}")


def cookie_name(name: str) -> str:
    return f"{settings.OPSCONSOLE_COOKIE_PREFIX}{name}"


def _remember(request: HttpRequest, response: HttpResponse, now: int) -> None:
    response.set_cookie(
        cookie_name(COOKIE),
        signer(request.session.session_key).sign(str(now)),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
