"""A page's statements may take so long and no longer, and whoever asked for one that did is told what to do."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from psycopg.errors import QueryCanceled

logger = logging.getLogger(__name__)


def limit_statements() -> None:
    """For the processes that serve pages: each statement of theirs is cancelled after the configured time.

    Sweeps, commands and migrations are not limited. It goes with the connection's start, so a pooler must let it
    through, or be told itself (docs/settings.md).
    """
    seconds = settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS
    if not seconds:
        return
    options = connections.settings["default"]["OPTIONS"]
    asked = f"-c statement_timeout={seconds}s"
    options["options"] = f"{options['options']} {asked}" if options.get("options") else asked


class TooSlowMiddleware:
    """A statement that was cancelled for its time ends as a page that says so, and not as an error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, OperationalError) or not isinstance(exception.__cause__, QueryCanceled):
            return None
        logger.warning("%s took too long and was given up.", request.path)
        return render(request, "admin/too_slow.html", {"title": "This took too long"}, status=503)
