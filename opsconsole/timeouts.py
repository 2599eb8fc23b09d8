"""The time limit for the statements of pages, and the page that says when it was reached."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus

logger = logging.getLogger(__name__)


def limit_statements() -> None:
    """Cancel each statement of this process after the configured time; for processes that serve pages.

    Sweeps, commands and migrations are not limited.
    """
    if settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS:
        connection_created.connect(_limit_statements_of)


def _limit_statements_of(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _limited not in connection.execute_wrappers:
        connection.execute_wrappers.append(_limited)


def _limited(
    execute: Callable[..., Any],
    sql: Any,
    params: Any,
    many: bool,  # noqa: FBT001 - Django calls it by position
    context: dict[str, Any],
) -> Any:
    """Send the limit together with the first statement of each transaction, so that it costs no round trip.

    A pooler may use another session for the next transaction. It would drop or refuse a limit that belongs to the
    session, or leave it to a sweep.
    """
    session = context["connection"].connection
    begins = session is not None and session.info.transaction_status == TransactionStatus.IDLE
    if many or not begins or not isinstance(sql, str):
        return execute(sql, params, many, context)
    limit = f"SET LOCAL statement_timeout = '{settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS}s'"
    answer = execute(f"{limit}; {sql}", params, many, context)
    context["cursor"].cursor.nextset()
    return answer


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
