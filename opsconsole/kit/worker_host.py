"""The console as the host of ``opsconsole_worker``: its statements run on Django's connection, with the console's settings."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import (
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connection,
)

from opsconsole.kit import activity, changed_tables, round_trip, schema_version, sqs_call_metrics
from opsconsole.kit.changed_rows import RowKept
from opsconsole.kit.database_troubles import trouble_behind
from opsconsole_worker import kept_rows
from opsconsole_worker.database import door
from opsconsole_worker.database.shared_plans import SharedPlans
from opsconsole_worker.database.troubles import Trouble
from opsconsole_worker.settings import Settings
from opsconsole_worker.settings import use as use_settings
from opsconsole_worker.sqs import followers

_KEEP_WAITING = (
    "SELECT set_config('opsconsole.synchronous_commit', current_setting('synchronous_commit'), true)"
)
_WAIT_AS_BEFORE = (
    "SELECT set_config('synchronous_commit', current_setting('opsconsole.synchronous_commit'), true)"
)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.plans = SharedPlans(round_trip.run, (Error,))


class DjangoDatabase:
    """Django's connection of each thread. In a caller's transaction, statements are part of it."""

    errors: door.Errors = (Error,)
    # InternalError includes a server that became a read-only standby.
    away: door.Errors = (OperationalError, InterfaceError, InternalError)
    row_kept: type[kept_rows.RowKept] = RowKept

    def __init__(self) -> None:
        self._of_thread = _OfThread()

    @property
    def session(self) -> object:
        """Return the connection of psycopg that Django has open in this thread, or None."""
        return connection.connection

    def run(self, statements: str, parameters: Mapping[str, Any]) -> list[door.Rows]:
        """Run statements in one round trip; see ``opsconsole.kit.round_trip``."""
        return round_trip.run(statements, parameters)

    def run_often(self, statement: str, parameters: Mapping[str, Any]) -> door.Rows:
        """Run one statement. In a caller's transaction, how its commit waits for the disk stays the caller's."""
        if not connection.in_atomic_block:
            plans = self._of_thread.plans if settings.OPSCONSOLE_POOLER_KEEPS_PLANS else None
            return plans.run(statement, parameters) if plans else round_trip.run(statement, parameters)[0]
        return round_trip.run(f"{_KEEP_WAITING};\n{statement};\n{_WAIT_AS_BEFORE}", parameters)[1]

    def refresh(self) -> None:
        """Close a connection that is broken, or has been open for longer than the settings allow."""
        close_old_connections()

    def close(self) -> None:
        """Close the connection of this thread."""
        connection.close()

    def require_tables(self) -> None:
        """Raise ``NotMigrated`` while migrations are missing, and ``TablesChanged`` after a claim that failed for that."""
        schema_version.require()
        changed_tables.require_again()

    def trouble(self, error: BaseException) -> Trouble | None:
        """Return the state of the database that caused this error."""
        return trouble_behind(error)

    def tell(self, what: str, level: int, facts: Mapping[str, Any]) -> None:
        """Write a line about what was done, once it is committed."""
        activity.done(what, level=level, **facts)


def current_settings() -> Settings:
    """Return what a worker is told, from the settings of Django."""
    return Settings(
        stale_after=timedelta(seconds=settings.OPSCONSOLE_STALE_AFTER_SECONDS),
        beat_seconds=settings.OPSCONSOLE_BEAT_INTERVAL_SECONDS,
        max_attempts=settings.OPSCONSOLE_MAX_ATTEMPTS,
        retry_backoff=timedelta(seconds=settings.OPSCONSOLE_RETRY_BACKOFF_SECONDS),
        body_limit=settings.OPSCONSOLE_BODY_LIMIT_BYTES,
        redacts=bool(settings.OPSCONSOLE_REDACT_PATHS),
        schema=settings.OPSCONSOLE_SCHEMA,
        region=settings.AWS_DEFAULT_REGION,
        endpoint=settings.AWS_ENDPOINT_URL,
        shares_plans=settings.OPSCONSOLE_POOLER_KEEPS_PLANS,
    )


def begin() -> None:
    """Let whatever workers report in this process go through Django."""
    use_settings(current_settings)
    door.use(DjangoDatabase())
    followers.add(sqs_call_metrics.follow)
