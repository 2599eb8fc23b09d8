"""Idle sessions: they end after a time without a click, even if the open page polls.

Django's own way, saving the session with every request, would let a polling page keep it open for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse

# Requests that the page makes by itself carry this header; they do not show that a person is there.
POLL_HEADER = "X-Poll"
LAST_SEEN = "last_seen"
# The session is written at most this often.
GRAIN_SECONDS = 60


class IdleSessionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            self._judge(request)
        return self.get_response(request)

    def _judge(self, request: HttpRequest) -> None:
        now = int(time.time())
        idle = now - request.session.get(LAST_SEEN, now)
        if idle > settings.OPSCONSOLE_IDLE_SECONDS:
            logout(request)
        elif POLL_HEADER not in request.headers and (
            idle >= GRAIN_SECONDS or LAST_SEEN not in request.session
        ):
            request.session[LAST_SEEN] = now
