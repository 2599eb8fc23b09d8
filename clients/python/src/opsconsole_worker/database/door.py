"""What the protocol needs of a database: one round trip per report. The console answers with Django's connection.

The server runs the statements of one round trip as one transaction, without waiting for the client in between: a client that
disappears leaves no transaction open that holds rows (I13).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from opsconsole_worker import log_lines
from opsconsole_worker.database.troubles import Trouble
from opsconsole_worker.kept_rows import RowKept

Rows: TypeAlias = list[tuple[Any, ...]]
Errors: TypeAlias = tuple[type[Exception], ...]


class RowLocked(Exception):
    """Another transaction held a row for longer than the lock timeout. Nothing was changed; a retry may help."""


class Database(Protocol):
    """A connection per thread. ``errors``: what it raises; ``away``: those of them after which a retry may help.

    ``row_kept``: that one of them which says that a row was kept from being changed.
    """

    errors: Errors
    away: Errors
    row_kept: type[RowKept]

    def run(self, statements: str, parameters: Mapping[str, Any]) -> list[Rows]:
        """Run statements, separated by semicolons, as one transaction; return the rows of each. Raise ``RowLocked``."""

    def run_often(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """Run one statement that is sent often; return its rows. Raise ``RowLocked``.

        Its plan is kept where that can be: by a connection without a pooler, or by the sessions behind one. The statement
        says itself whether its commit waits for the disk.
        """

    @property
    def session(self) -> object:
        """Return the connection of this thread, to compare it with a later one; None while there is none."""

    def refresh(self) -> None:
        """Close the connection of this thread if it can't be used, or has been open for long enough."""

    def close(self) -> None:
        """Close the connection of this thread; the next statement opens another."""

    def require_tables(self) -> None:
        """Raise one of ``errors`` while the database is not ready for this version."""

    def trouble(self, error: BaseException) -> Trouble | None:
        """Return the state of the database that caused this error; None when the statement itself is the reason."""

    def tell(self, what: str, level: int, facts: Mapping[str, Any]) -> None:
        """Write a line about what was done, once it is committed."""


_used: list[Database] = []


def use(database: Database) -> None:
    """Let all reports of this process go through this database."""
    _used[:] = [database]


def current() -> Database:
    """Return the database of this process. ``use`` comes first."""
    return _used[0]


def run(statements: str, parameters: Mapping[str, Any]) -> list[Rows]:
    """Run statements in one round trip; see ``Database.run``."""
    return current().run(statements, parameters)


def run_often(statement: str, parameters: Mapping[str, Any]) -> Rows:
    """Run one statement that is sent often; see ``Database.run_often``."""
    return current().run_often(statement, parameters)


def tell(what: str, level: int, facts: Mapping[str, Any]) -> None:
    """Write a line about what was done; a process without a database was told that it is committed."""
    if _used:
        _used[0].tell(what, level, facts)
    else:
        log_lines.tell(what, level, facts)


def errors() -> Errors:
    """Return what the database raises, for ``except``."""
    return current().errors


def away() -> Errors:
    """Return the errors after which a retry may help, for ``except``."""
    return current().away
