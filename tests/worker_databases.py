"""The databases over which the tests of the worker run: Django's connection, and that of a worker without the console."""

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

DJANGO, DIRECT = "run_worker", "opsconsole_worker"


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
