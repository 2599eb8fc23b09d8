"""The time limit for the statements of pages, and the page that says when it was reached."""

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
    """Cancel each statement of this process after the configured time; for processes that serve pages.

    Sweeps, commands and migrations are not limited. The limit is a startup option of the connection, so a pooler must
    pass it on or set it itself (docs/settings.md).
    """
    seconds = settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS
    if not seconds:
        return
    options = connections.settings["default"]["OPTIONS"]
    asked = f"-c statement_timeout={seconds}s"
    options["options"] = f"{options['options']} {asked}" if options.get("options") else asked


class TooSlowMiddleware:
    """Answers with a page instead of an error when a statement was cancelled by the time limit."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, OperationalError) or not isinstance(exception.__cause__, QueryCanceled):
            return None
        logger.warning("%s took too long and was cancelled.", request.path)
        return render(request, "admin/too_slow.html", {"title": "This took too long"}, status=503)
