"""What a database error means to people: the database is away, refuses writes, or lacks what this code needs."""

from __future__ import annotations

from enum import Enum

from django.db import DatabaseError, Error, InterfaceError, OperationalError, connection
from psycopg import errors

from opsconsole.kit import schema_version
from opsconsole.kit.schema_version import NotMigrated

# Classes of SQLSTATE in which the server, not the statement, is the reason: connection, resources, shutdown.
AWAY_STATES = ("08", "53", "57P", "58")


class Trouble(Enum):
    """A state of the database in which the console can't do its work. The value is a sentence about it."""

    AWAY = "The database does not answer."
    READ_ONLY = "The database is read-only."
    DISK_FULL = "The disk of the database is full."
    LOCKED = "Another transaction keeps the rows locked that this needs."
    DEADLOCK = "The database ended a deadlock between this and another transaction."
    CONFLICT = "Another transaction changed the same rows at the same moment."
    TOO_SLOW = "The database cancelled a statement that took too long."
    NOT_MIGRATED = "The database is not yet migrated to this version of the console."
    NOT_GRANTED = "The console's role lacks a privilege in the database."

    @property
    def word(self) -> str:
        """Return the state as the readiness probe names it."""
        return self.name.lower().replace("_", " ")


class ReadOnlyDatabase(DatabaseError):
    """The database refuses changes now, as a standby or by its settings."""


def refuses_changes() -> bool:
    """Ask the database whether it refuses changes now."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return bool(cursor.fetchone()[0] == "on")


def require_writable() -> None:
    """Raise ``ReadOnlyDatabase`` while the database refuses changes."""
    if refuses_changes():
        raise ReadOnlyDatabase("it refuses changes, as a standby or by its settings")


def trouble_behind(error: BaseException | None) -> Trouble | None:
    """Return the state of the database that caused this error, or None when the statement itself is the reason."""
    cause = error.__cause__ if isinstance(error, Error) else None
    for kind, trouble in _CERTAIN:
        if isinstance(error, kind) or isinstance(cause, kind):
            return trouble
    if isinstance(cause, _SIGNS_OF_AN_OLDER_SCHEMA) and _is_behind():
        return Trouble.NOT_MIGRATED
    if isinstance(cause, errors.InsufficientPrivilege):
        return Trouble.NOT_GRANTED
    if isinstance(error, OperationalError | InterfaceError):
        state = sqlstate_of(error)
        return Trouble.AWAY if state is None or state.startswith(AWAY_STATES) else None
    return None


def sqlstate_of(error: BaseException) -> str | None:
    """Return the code by which the server refused a statement; None when it did not answer."""
    state: str | None = getattr(error.__cause__, "sqlstate", None)
    return state


_CERTAIN: tuple[tuple[type[Exception], Trouble], ...] = (
    (NotMigrated, Trouble.NOT_MIGRATED),
    (ReadOnlyDatabase, Trouble.READ_ONLY),
    (errors.ReadOnlySqlTransaction, Trouble.READ_ONLY),
    (errors.DiskFull, Trouble.DISK_FULL),
    (errors.LockNotAvailable, Trouble.LOCKED),
    (errors.DeadlockDetected, Trouble.DEADLOCK),
    (errors.SerializationFailure, Trouble.CONFLICT),
    (errors.QueryCanceled, Trouble.TOO_SLOW),
)
_SIGNS_OF_AN_OLDER_SCHEMA = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
    errors.InsufficientPrivilege,
)


def headline(trouble: Trouble | None) -> str:
    """Return what a log says about a state of the database that may pass, without the full stop."""
    return (trouble or Trouble.AWAY).value.rstrip(".")


def _is_behind() -> bool:
    schema_version.look_again()
    try:
        return schema_version.is_behind()
    except Error:
        # The transaction that failed is still open, so nothing can be asked in it.
        return True
