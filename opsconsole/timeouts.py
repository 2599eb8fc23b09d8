"""The time limit for the statements of pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from opsconsole.kit.answer_limit import limit_answers
from opsconsole.kit.postgresql.base import ALONE


def limit_statements() -> None:
    """Cancel each statement of this process after the configured time; for processes that serve pages.

    Where nothing answers, not even that it was cancelled, stop waiting. Sweeps, commands and migrations are not limited.
    """
    if settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS:
        limit_answers(settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS)
        connection_created.connect(_limit_statements_of)


def _limit_statements_of(connection: BaseDatabaseWrapper, **_: Any) -> None:
    # Without a database come the statements that create and drop one, which no transaction may contain.
    if connection.alias != NO_DB_ALIAS and _limited not in connection.execute_wrappers:
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
    if many or not begins or not isinstance(sql, str) or ALONE.match(sql):
        return execute(sql, params, many, context)
    limit = f"SET LOCAL statement_timeout = '{settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS}s'"
    answer = execute(f"{limit}; {sql}", params, many, context)
    context["cursor"].cursor.nextset()
    return answer
