"""Connections that count saved changes and tell a lost answer from a refused change (I14).

Django looks for the class ``DatabaseWrapper`` in this module.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base, operations
from psycopg import ClientCursor
from psycopg.errors import DiskFull
from psycopg.pq import TransactionStatus
from psycopg.sql import Composable, Literal
from psycopg.types.json import Jsonb

from opsconsole.kit import answer_limit, full_disk, own_schema
from opsconsole.kit.kept_changes import OutcomeUnknown
from opsconsole.kit.postgresql.schema import DatabaseSchemaEditor
from opsconsole.kit.postgresql.timestamps import BoundedTimeLoader
from opsconsole_worker.database import unchecked_texts
from opsconsole_worker.database.intervals import AnyStyleIntervalLoader
from opsconsole_worker.database.unchecked_texts import SendsUtf8
from opsconsole_worker.storable import json_text

# libpq sends it as a start parameter, which beats a default of the database and which poolers accept, because drivers of other
# languages always send it. psycopg reads no other style.
os.environ["PGDATESTYLE"] = "ISO"

_LITERALS = re.compile(r"'[^']*'")
_READS = re.compile(
    r"\s*(SELECT|SHOW|SET|RESET|SAVEPOINT|RELEASE|ROLLBACK|EXPLAIN|VALUES|LOCK)\b", re.IGNORECASE
)
# Functions of PostgreSQL that only read: whoever reads with them must not be told of a change.
_READERS = (
    r"(pg_|to_reg|has_|quote_|json_|jsonb_|inet_|current_)\w+"
    r"|set_config|(statement|clock|transaction)_timestamp|now|date_trunc|unnest|generate_series|aclexplode|coalesce|greatest|least"
    r"|exists|array|array_agg|string_agg|count|sum|avg|min|max|bool_and|bool_or|cast|format|substring|version"
)
# A statement that calls another function of the database, or that consists of several, may write.
_MAY_WRITE = re.compile(rf"(\bFROM|^\s*SELECT)\s+(?!({_READERS})\s*\()[\w.\"]+\s*\(|;\s*\S", re.IGNORECASE)
# No transaction may contain these.
ALONE = re.compile(r"\s*(VACUUM\b|(CREATE|DROP|RE)\s*(UNIQUE\s+)?INDEX\s+CONCURRENTLY\b)", re.IGNORECASE)
_INSERTS = re.compile(r"\s*INSERT\b", re.IGNORECASE)
# Characters of a statement of which it is remembered whether it writes; that of the largest page has 21,000.
_LONGEST_KNOWN = 40_000


def writes(statement: object) -> bool:
    """Tell whether a statement may change data. In doubt it may."""
    text = str(statement)
    return _known_to_write(text) if len(text) <= _LONGEST_KNOWN else _may_write(text)


def _may_write(statement: str) -> bool:
    text = _LITERALS.sub("''", statement)
    return not _READS.match(text) or bool(_MAY_WRITE.search(text))


# Pages send the same statements again and again, and to look through that of a large page takes a millisecond.
_known_to_write = lru_cache(maxsize=128)(_may_write)


class NotGivenBack(DatabaseError):
    """An INSERT that did not fail gave no row back: a trigger suppressed it, or put it elsewhere."""


class DatabaseOperations(operations.DatabaseOperations):
    """Django's operations, which expect the row that an INSERT returns."""

    def fetch_returned_insert_columns(self, cursor: Any, returning_params: Any) -> Any:
        row = super().fetch_returned_insert_columns(cursor, returning_params)  # type: ignore[misc]  # missing in the stubs
        if row is None:
            raise NotGivenBack("no row was given back")
        return row

    def compose_sql(self, sql: str, params: Iterable[Any]) -> str:
        """Return a statement with its parameters in place. psycopg would do it in ASCII where the database checks no encoding."""
        self.connection.ensure_connection()
        values = tuple(Literal(each).as_bytes(self.connection.connection) for each in params)
        return (sql.encode() % values).decode()

    def adapt_json_value(self, value: Any, encoder: type[json.JSONEncoder] | None) -> Jsonb:  # type: ignore[override]  # of the stubs
        return Jsonb(value, dumps=partial(json_text, encoder=encoder))


class _Utf8Cursor(SendsUtf8, base.Cursor):
    pass


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that finds the console's tables in their schema.

    ``saved_changes`` is the number of transactions and single statements with changes that it saved, or may have saved.
    ``last_doubt`` is that number when it was last unknown whether it saved one.
    """

    SchemaEditorClass = DatabaseSchemaEditor
    ops_class = DatabaseOperations

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.saved_changes = 0
        self.last_doubt = 0
        self._unsaved = False
        self._search_path: str | None = None
        self.execute_wrappers += [self._follow, self._find_tables]

    def init_connection_state(self) -> None:
        super().init_connection_state()
        # Without a database come the statements that create and drop one.
        if self.connection is not None and self.alias != NO_DB_ALIAS:
            self._search_path = own_schema.path_for_transactions(self.connection)

    def _find_tables(
        self,
        execute: Callable[..., Any],
        statement: Any,
        parameters: Any,
        many: bool,  # noqa: FBT001 - Django calls it by position
        context: dict[str, Any],
    ) -> Any:
        """Send the search path together with the first statement of each transaction, where sessions don't have it.

        It costs no round trip, and nothing of it stays in a session that a pooler gives to somebody else next.
        """
        session = self.connection
        if (
            self._search_path is None
            or session is None
            or session.info.transaction_status != TransactionStatus.IDLE
        ):
            return execute(statement, parameters, many, context)
        if isinstance(statement, Composable):
            statement = statement.as_string(session)
        path = f"search_path = {self._search_path}"
        # A statement whose values are bound on the server can't have others beside it.
        if many or not isinstance(context["cursor"].cursor, ClientCursor):
            with transaction.atomic(using=self.alias):
                session.execute(f"SET LOCAL {path}")
                return execute(statement, parameters, many, context)
        if ALONE.match(statement):
            session.execute(f"SET {path}")
            try:
                return execute(statement, parameters, many, context)
            finally:
                session.execute("RESET search_path")
        if parameters is not None:
            path = path.replace("%", "%%")
        answer = execute(f"SET LOCAL {path}; {statement}", parameters, many, context)
        context["cursor"].cursor.nextset()
        return answer

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        session = super().get_new_connection(conn_params)
        if unchecked_texts.is_unchecked(session):
            session.close()
            unchecked = {"client_encoding": unchecked_texts.ENCODING, "cursor_factory": _Utf8Cursor}
            session = super().get_new_connection(conn_params | unchecked)
            unchecked_texts.read_each_by_itself(session)
        answer_limit.guard(session)
        session.adapters.register_loader("timestamptz", BoundedTimeLoader)
        session.adapters.register_loader("interval", AnyStyleIntervalLoader)
        return session

    def set_autocommit(self, autocommit: bool, *args: Any, **options: Any) -> None:  # noqa: FBT001 - as Django's
        """Leave a connection closed that broke at the end of a transaction: the next statement opens another one.

        Django would open it here. Where the server is away, the error of that would hide what became of the transaction.
        """
        if autocommit and self.connection is None:
            self.autocommit = True
        else:
            super().set_autocommit(autocommit, *args, **options)

    def _follow(self, execute: Callable[..., Any], statement: Any, *others: Any) -> Any:
        if not writes(statement):
            return execute(statement, *others)
        if self.in_atomic_block:
            self._unsaved = True
            with _noting_a_full_disk(statement):
                return execute(statement, *others)
        with self._doubting(), _noting_a_full_disk(statement):
            result = execute(statement, *others)
        self.saved_changes += 1
        return result

    def _commit(self) -> None:
        with self._doubting():
            super()._commit()  # type: ignore[misc]  # missing in the stubs
        self.saved_changes += self._unsaved
        self._unsaved = False

    def _rollback(self) -> None:
        self._unsaved = False
        super()._rollback()  # type: ignore[misc]  # missing in the stubs

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """Raise ``OutcomeUnknown`` when the connection breaks while the database saves a change."""
        was_open = self.connection is not None and not self.connection.closed
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            if was_open and (self.connection is None or self.connection.closed):
                self._unsaved = False
                self.saved_changes += 1
                self.last_doubt = self.saved_changes
                raise OutcomeUnknown(*error.args) from error.__cause__
            raise


@contextmanager
def _noting_a_full_disk(statement: object) -> Iterator[None]:
    """Note a change that is refused because the disk is full, and one that needed room and was accepted."""
    try:
        yield
    except DatabaseError as error:
        if isinstance(error.__cause__, DiskFull):
            full_disk.note_refused_write()
        raise
    if _INSERTS.match(str(statement)):
        full_disk.note_write()
