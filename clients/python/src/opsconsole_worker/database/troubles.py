"""What a database error means to people: the database is away, refuses writes, or lacks what this code needs."""

from __future__ import annotations

from enum import Enum

import psycopg
from psycopg import errors

# What pgbouncer answers to BEGIN when it works with pool_mode = statement; its code is that of any protocol violation.
NO_TRANSACTION_BLOCKS = "transaction blocks not allowed in statement pooling mode"
# Classes of SQLSTATE in which the server, not the statement, is the reason: connection, resources, shutdown.
AWAY_STATES = ("08", "53", "57P", "58")


class Trouble(Enum):
    """A state of the database in which the work can't go on. The value is a sentence about it."""

    AWAY = "The database does not answer."
    NO_TRANSACTIONS = (
        "The pooler in front of the database refuses transactions (pgbouncer with pool_mode = statement), which all changes need: "
        "set its pool_mode to transaction or session."
    )
    READ_ONLY = "The database is read-only."
    DISK_FULL = "The disk of the database is full."
    LOCKED = "Another transaction keeps the rows locked that this needs."
    DEADLOCK = "The database ended a deadlock between this and another transaction."
    CONFLICT = "Another transaction changed the same rows at the same moment."
    TOO_SLOW = "The database cancelled a statement that took too long."
    NOT_MIGRATED = "The database is not yet migrated to this version of the console."
    TABLES_CHANGED = (
        "A table of jobs, heartbeats or requests was changed, and the console can't use it as it is now."
    )
    ROW_MISSING = "A row that the console needs is missing in the database."
    NOT_GRANTED = "The console's role lacks a privilege in the database."

    @property
    def word(self) -> str:
        """Return the state as the readiness probe names it."""
        return self.name.lower().replace("_", " ")


# The last two end the session, and are internal errors to drivers. By the last one, the program paused within a transaction.
CERTAIN: tuple[tuple[type[Exception], Trouble], ...] = (
    (errors.ReadOnlySqlTransaction, Trouble.READ_ONLY),
    (errors.DiskFull, Trouble.DISK_FULL),
    (errors.LockNotAvailable, Trouble.LOCKED),
    (errors.DeadlockDetected, Trouble.DEADLOCK),
    (errors.SerializationFailure, Trouble.CONFLICT),
    (errors.QueryCanceled, Trouble.TOO_SLOW),
    (errors.TransactionTimeout, Trouble.TOO_SLOW),
    (errors.IdleInTransactionSessionTimeout, Trouble.AWAY),
)
SIGNS_OF_AN_OLDER_SCHEMA = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)


def sqlstate_of(error: BaseException) -> str | None:
    """Return the code by which the server refused a statement; None when it did not answer."""
    behind = error if isinstance(error, psycopg.Error) else error.__cause__
    state: str | None = getattr(behind, "sqlstate", None)
    return state


def trouble_behind(error: BaseException) -> Trouble | None:
    """Return the state of the database that caused this error of psycopg; None when the statement itself is the reason."""
    for kind, trouble in CERTAIN:
        if isinstance(error, kind):
            return trouble
    if refuses_transactions(error):
        return Trouble.NO_TRANSACTIONS
    if isinstance(error, SIGNS_OF_AN_OLDER_SCHEMA):
        return Trouble.NOT_MIGRATED
    if isinstance(error, errors.InsufficientPrivilege):
        return Trouble.NOT_GRANTED
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Trouble.AWAY if is_away(sqlstate_of(error)) else None
    return None


def refuses_transactions(error: BaseException | None) -> bool:
    """Tell whether this error of psycopg is how a pooler in statement mode answers the begin of a transaction."""
    return isinstance(error, errors.ProtocolViolation) and NO_TRANSACTION_BLOCKS in str(error)


def is_away(state: str | None) -> bool:
    """Tell whether the server is the reason, by the SQLSTATE of an operational error."""
    return state is None or state.startswith(AWAY_STATES)


def headline(trouble: Trouble | None) -> str:
    """Return what a log says about a state of the database that may pass, without the full stop."""
    return (trouble or Trouble.AWAY).value.rstrip(".")
