"""Pages that say what a failure of the database means for the request: too slow, refused, or of unknown outcome (I14)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import Error, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from psycopg.errors import QueryCanceled

from opsconsole.kit import kept_changes, locked_tables
from opsconsole.kit.kept_changes import Kept, OutcomeUnknown
from opsconsole.kit.problems import SAFE_METHODS
from opsconsole_worker import refusals

logger = logging.getLogger(__name__)


class DatabaseFailureMiddleware:
    """Answers with a page instead of an error when a statement took too long, or a change was refused or interrupted."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # What was saved before this, such as the session, is not what the request asks for.
        request.saved_before = kept_changes.saved_changes()  # type: ignore[attr-defined]  # our own attribute
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        kept = kept_by(request, exception)
        context: dict[str, object] = {"reading": request.method in SAFE_METHODS, "kept": kept}
        if kept is Kept.UNKNOWN:
            logger.error(
                "%s: the connection broke while a change was being saved: %s", request.path, exception
            )
            return render(request, "admin/outcome_unknown.html", context, status=503)
        if isinstance(exception, OperationalError) and isinstance(exception.__cause__, QueryCanceled):
            locked = locked_tables.summary()
            logger.warning("%s", f"{request.path} took too long and was cancelled. {locked}".rstrip())
            context["locked"] = locked if is_of_staff(request) else ""
            return render(request, "admin/too_slow.html", context, status=503)
        refusal = None if context["reading"] else refusals.of(exception)
        if refusal:
            logger.error("%s: %s", request.path, refusal.sentence, exc_info=exception)
            return render(
                request, "admin/refused.html", context | {"refusal": refusal}, status=refusal.status
            )
        return None


def is_of_staff(request: HttpRequest) -> bool:
    """Tell whether a person who may see pages asks, also where that can't be found out now: then not."""
    try:
        user = getattr(request, "user", None)
        return bool(user and user.is_staff)
    except Error:
        return False


def kept_by(request: HttpRequest, error: BaseException | None = None) -> Kept:
    """Return what stands of the changes that the request made before it failed."""
    if isinstance(error, OutcomeUnknown):
        return Kept.UNKNOWN
    # Without the mark, the request failed before it reached its view.
    since = getattr(request, "saved_before", None)
    return Kept.NOTHING if since is None else kept_changes.kept(error, since=since)
