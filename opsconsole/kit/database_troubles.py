"""What a database error means to people: the database is away, refuses writes, or lacks what this code needs."""

from __future__ import annotations

from django.db import DatabaseError, Error, InterfaceError, OperationalError, connection
from psycopg import errors

from opsconsole.kit import changed_tables, locked_tables, schema_version
from opsconsole.kit.changed_tables import TablesChanged
from opsconsole.kit.schema_version import NotMigrated
from opsconsole.kit.single_rows import RowMissing
from opsconsole_worker.database.troubles import (
    CERTAIN,
    SIGNS_OF_AN_OLDER_SCHEMA,
    Trouble,
    is_away,
    refuses_transactions,
    sqlstate_of,
)
from opsconsole_worker.database.troubles import headline as headline_of

__all__ = [
    "ReadOnlyDatabase",
    "Trouble",
    "headline",
    "refuses_changes",
    "require_writable",
    "sqlstate_of",
    "summary_of",
    "trouble_behind",
]


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


def headline(trouble: Trouble | None) -> str:
    """Return what a log or a command says about a state of the database, without the full stop."""
    what = summary_of(trouble)
    return f"{headline_of(trouble)}. {what}".rstrip(". ")


def summary_of(trouble: Trouble | None) -> str:
    """Return what else is known about a state of the database: what was changed, or who has locked a table; often nothing."""
    if trouble is Trouble.TABLES_CHANGED:
        return changed_tables.summary()
    return locked_tables.summary() if trouble in {Trouble.LOCKED, Trouble.TOO_SLOW} else ""


def trouble_behind(error: BaseException | None) -> Trouble | None:
    """Return the state of the database that caused this error, or None when the statement itself is the reason."""
    cause = error.__cause__ if isinstance(error, Error) else None
    if certain := _certain(error, cause):
        return certain
    if isinstance(cause, _SIGNS_OF_AN_OLDER_SCHEMA) and _is_behind():
        return Trouble.NOT_MIGRATED
    if changed_tables.is_sign(error) and changed_tables.have_changed():
        return Trouble.TABLES_CHANGED
    if isinstance(cause, errors.InsufficientPrivilege):
        return Trouble.NOT_GRANTED
    if isinstance(error, OperationalError | InterfaceError):
        return Trouble.AWAY if is_away(sqlstate_of(error)) else None
    return None


_CERTAIN: tuple[tuple[type[Exception], Trouble], ...] = (
    (NotMigrated, Trouble.NOT_MIGRATED),
    (ReadOnlyDatabase, Trouble.READ_ONLY),
    (TablesChanged, Trouble.TABLES_CHANGED),
    (RowMissing, Trouble.ROW_MISSING),
    *CERTAIN,
)
_SIGNS_OF_AN_OLDER_SCHEMA = (*SIGNS_OF_AN_OLDER_SCHEMA, errors.InsufficientPrivilege)


def _certain(error: BaseException | None, cause: BaseException | None) -> Trouble | None:
    """Return the state that the kind of the error alone tells."""
    for kind, trouble in _CERTAIN:
        if isinstance(error, kind) or isinstance(cause, kind):
            return trouble
    return Trouble.NO_TRANSACTIONS if refuses_transactions(cause) else None


def _is_behind() -> bool:
    schema_version.look_again()
    try:
        return schema_version.is_behind()
    except Error:
        # The transaction that failed is still open, so nothing can be asked in it.
        return True
