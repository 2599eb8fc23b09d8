"""The ways by which the workers of tests report: Django's connection, a connection of their own, and the HTTP API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.db import Error, InterfaceError, InternalError, OperationalError, connections

from opsconsole.kit import row_locks
from opsconsole.kit.database_troubles import trouble_behind
from opsconsole_worker.database import door
from opsconsole_worker.database.direct import DirectDatabase
from opsconsole_worker.database.troubles import Trouble
from opsconsole_worker.reports import reporting
from opsconsole_worker.reports.console_http import ConsoleHttp
from opsconsole_worker.reports.to_console import ConsoleReports
from opsconsole_worker.reports.to_database import DatabaseReports

DJANGO, DIRECT, HTTP = "run_worker", "opsconsole_worker", "opsconsole_worker --http"


class DirectBesideDjango(DirectDatabase):
    """The connection of a worker without the console, to wherever Django's connection of this thread leads now.

    Tests put errors of Django in place of those of the database, so both count.
    """

    errors: door.Errors = (psycopg.Error, Error)
    away: door.Errors = (*DirectDatabase.away, OperationalError, InterfaceError, InternalError)

    def __init__(self) -> None:
        super().__init__("", settings.OPSCONSOLE_SCHEMA)

    @property
    def session(self) -> psycopg.Connection[Any] | None:
        found = super().session
        return found if found is None or self._of_thread.address == _address() else None

    def _connect(self) -> psycopg.Connection[Any]:
        self.close()
        self.wait = timedelta(seconds=row_locks.WAIT.total_seconds())
        self._of_thread.address = _address()
        return super()._connect()

    @property
    def arguments(self) -> dict[str, Any]:
        return super().arguments | dict(_address())

    def close(self) -> None:
        found, self._of_thread.session = getattr(self._of_thread, "session", None), None
        if found is not None:
            found.close()

    def trouble(self, error: BaseException) -> Trouble | None:
        return trouble_behind(error) if isinstance(error, Error) else super().trouble(error)


def _address() -> tuple[tuple[str, Any], ...]:
    described = connections["default"].settings_dict
    named = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    return tuple((name, described[key]) for name, key in named.items() if described[key])


@contextmanager
def used(kind: str) -> Iterator[None]:
    """Let workers report through this database for a while."""
    if kind == DJANGO:
        yield
        return
    usual, direct = door.current(), DirectBesideDjango()
    door.use(direct)
    try:
        yield
    finally:
        direct.close()
        door.use(usual)


@contextmanager
def used_over_http(address: str, key: str) -> Iterator[None]:
    """Let workers report to the console that listens there. They ask before each message, as over the other ways."""
    reports = ConsoleReports(ConsoleHttp(address, key), idle_every=timedelta(0))
    reporting.use(reports)
    try:
        yield
    finally:
        reports.close()
        reporting.use(DatabaseReports())


def outage(error: str, *, tries: int) -> tuple[str, str]:
    """Return the lines about an outage of this many tries, as a worker that reports in the current way writes them."""
    name = reporting.current().name
    over_http = isinstance(reporting.current(), ConsoleReports)
    first = "The console can't do this now" if over_http else f"{name} does not answer"
    why = "The database does not answer. Nothing was changed. Try again." if over_http else error
    return f"{first}, trying again: {why}", f"{name} answers again (failed tries: {tries})"
