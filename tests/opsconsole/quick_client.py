"""A client for walks of thousands of requests: the views, the admin and the templates, with a user that is set, not signed in."""

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from opsconsole.sign_in.session_store import STARTED

# What a signed-in person's request passes, without the queries of sessions and log-ins.
SETTINGS = {
    "MIDDLEWARE": [
        "tests.opsconsole.quick_client.AsUserMiddleware",
        "opsconsole.kit.request_text.PlainAddressMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "opsconsole.database_failures.DatabaseFailureMiddleware",
    ],
    "MESSAGE_STORAGE": "django.contrib.messages.storage.cookie.CookieStorage",
    "OPSCONSOLE_SECOND_FACTOR": "off",
}


class AsUserMiddleware:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = request.META["quick_client.user"]
        # Without a key it loads and keeps nothing.
        request.session = SessionBase()
        request.session[STARTED] = int(time.time())
        response: HttpResponse = self.get_response(request)
        return response


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 without a page, which shows nothing of the console."""
    return HttpResponse(status=403)


class QuickClient:
    """Sends requests of one user. Needs the ``SETTINGS``."""

    def __init__(self, user: User | AnonymousUser) -> None:
        self.factory = RequestFactory()
        self.factory.defaults.update({"quick_client.user": user})  # type: ignore[dict-item]  # read by the middleware
        self.handler = BaseHandler()
        self.handler.load_middleware()

    def send(self, method: str, address: str) -> Any:
        request = getattr(self.factory, method)(address)
        # As the test client does: CSRF has tests of its own.
        request._dont_enforce_csrf_checks = True
        return self.handler.get_response(request)


def body(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(content.decode(errors="replace"))
