"""The database of a worker that stands alone: a connection of psycopg per thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure

from opsconsole_worker import log_lines
from opsconsole_worker.database import door, row_locks, search_path, troubles, unchecked_texts
from opsconsole_worker.database.intervals import AnyStyleIntervalLoader
from opsconsole_worker.database.shared_plans import SharedPlans
from opsconsole_worker.database.troubles import Trouble
from opsconsole_worker.database.unchecked_texts import SendsUtf8
from opsconsole_worker.kept_rows import RowKept

# A connection that a firewall or a failover dropped silently ends within a minute instead of the kernel's quarter of an
# hour: a heartbeat that waits for it would make its run stale. The URL can override this.
KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
APPLICATION = "opsconsole worker"
CONNECT_SECONDS = 5
MOST_TRIES = 3
PAUSE_SECONDS = (0.05, 0.2)
# Each statement needs its own snapshot, to see what was committed while an earlier one waited for a lock.
_OWN_TRANSACTION = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
_OWN_TRANSACTIONS = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"
# What the server undid for the sake of another transaction.
_UNDONE = (DeadlockDetected, SerializationFailure)


class RowLocked(psycopg.OperationalError, door.RowLocked):
    """The lock of a row that this connection waited for in vain."""


class DirectRowKept(psycopg.DatabaseError, RowKept):
    """A row that the database kept from being changed, as one of its errors."""


class DirectDatabase:
    """Connections to the database of this URL, one per thread, opened when they are needed.

    ``schema``: of the console's own tables. ``wait``: how long a statement waits for a locked row. ``shares_plans``: the
    sessions behind a pooler keep what was prepared in them.
    """

    errors: door.Errors = (psycopg.Error,)
    # InternalError includes a server that became a read-only standby.
    away: door.Errors = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
    row_kept: type[RowKept] = DirectRowKept

    def __init__(
        self, url: str, schema: str, *, wait: timedelta = row_locks.WAIT, shares_plans: bool = False
    ) -> None:
        defaults = {"application_name": APPLICATION, "connect_timeout": CONNECT_SECONDS}
        # The default of a role or a database may be an encoding that lacks characters of statements and values.
        encoding = {"client_encoding": "UTF8"}
        self._arguments: dict[str, Any] = defaults | KEEPALIVES | conninfo_to_dict(url) | encoding
        self._schema = schema
        self.wait = wait
        self._shares_plans = shares_plans
        self._of_thread = threading.local()

    @property
    def arguments(self) -> dict[str, Any]:
        """Return what connections are opened with."""
        return self._arguments

    @property
    def session(self) -> psycopg.Connection[Any] | None:
        """Return the connection of this thread; None while there is none."""
        found: psycopg.Connection[Any] | None = getattr(self._of_thread, "session", None)
        return found

    def run(self, statements: str, parameters: Mapping[str, Any]) -> list[door.Rows]:
        """Run statements as one transaction in one round trip; see ``door.Database``.

        What the server undid for the sake of another transaction (a deadlock, a serialization failure) is tried again.
        """
        for _ in range(MOST_TRIES - 1):
            try:
                return self._run(statements, parameters)
            except _UNDONE:
                time.sleep(random.uniform(*PAUSE_SECONDS))
        return self._run(statements, parameters)

    def run_often(self, statement: str, parameters: Mapping[str, Any]) -> door.Rows:
        """Run one statement whose plan is kept by the connection, or by the sessions behind a pooler; see ``door.Database``."""
        session = self.session or self._connect()
        if self._of_thread.keeps_plans:
            try:
                return self._run_prepared(session, statement, parameters)
            except (psycopg.ProgrammingError, psycopg.NotSupportedError):
                # A pooler that was not recognized lost the statement, a type is not known without its value, or a migration
                # changed the type of a result, which a plan can't follow. Otherwise the text says what is wrong.
                self._of_thread.keeps_plans = False
            except _UNDONE:
                pass
        elif self._of_thread.shared_plans:
            shared: SharedPlans = self._of_thread.shared_plans
            return shared.run(statement, parameters)
        [rows] = self.run(statement, parameters)
        return rows

    def _run_prepared(
        self, session: psycopg.Connection[Any], statement: str, parameters: Mapping[str, Any]
    ) -> door.Rows:
        session.prepare_threshold = 0
        try:
            return psycopg.Cursor(session).execute(statement.encode(), parameters, prepare=True).fetchall()
        except LockNotAvailable as error:
            raise RowLocked(*error.args) from error
        finally:
            session.prepare_threshold = None

    def _run(self, statements: str, parameters: Mapping[str, Any]) -> list[door.Rows]:
        session = self.session or self._connect()
        wait = round(self.wait.total_seconds() * 1000)
        preamble = [_OWN_TRANSACTION, f"SET LOCAL lock_timeout = {wait}", *self._of_thread.preamble]
        with session.cursor() as cursor:
            try:
                # A message of the simple protocol may have several statements; this cursor inserts the parameters itself.
                cursor.execute(";\n".join([*preamble, statements]), parameters)
            except LockNotAvailable as error:
                raise RowLocked(*error.args) from error
            results = [cursor.fetchall() if cursor.description else []]
            while cursor.nextset():
                results.append(cursor.fetchall() if cursor.description else [])
        return results[len(preamble) :]

    def _connect(self) -> psycopg.Connection[Any]:
        session = _open(dict(self.arguments))
        session.adapters.register_loader("interval", AnyStyleIntervalLoader)
        path = search_path.for_transactions(session, self._schema)
        # A percent sign would be read as a parameter.
        self._of_thread.preamble = [f"SET LOCAL search_path = {path.replace('%', '%%')}"] if path else []
        self._of_thread.keeps_plans = search_path.serves_alone(session)
        if self._of_thread.keeps_plans:
            wait = f"SET lock_timeout = {round(self.wait.total_seconds() * 1000)}"
            own_path = [f"SET search_path = {path}"] if path else []
            session.execute(";\n".join([_OWN_TRANSACTIONS, wait, *own_path]))
        pooled = self._shares_plans and not self._of_thread.keeps_plans
        self._of_thread.shared_plans = SharedPlans(self.run, self.errors) if pooled else None
        self._of_thread.session = session
        return session

    def refresh(self) -> None:
        """Close the connection of this thread if it is broken."""
        if self.session is not None and (self.session.closed or self.session.broken):
            self.close()

    def close(self) -> None:
        """Close the connection of this thread; the next statement opens another."""
        session, self._of_thread.session = self.session, None
        if session is not None:
            session.close()

    def require_tables(self) -> None:
        """Do nothing: a statement that names what the database does not have says so itself."""

    def trouble(self, error: BaseException) -> Trouble | None:
        """Return the state of the database that caused this error."""
        return troubles.trouble_behind(error)

    def tell(self, what: str, level: int, facts: Mapping[str, Any]) -> None:
        """Write a line with its facts: every statement here is a transaction of its own."""
        log_lines.tell(what, level, facts)


class _Utf8Cursor(SendsUtf8, psycopg.ClientCursor[Any]):
    pass


def _open(arguments: dict[str, Any]) -> psycopg.Connection[Any]:
    # Statements are not prepared: a pooler may use another session for each transaction.
    arguments |= {"autocommit": True, "prepare_threshold": None}
    session = psycopg.connect(**arguments, cursor_factory=psycopg.ClientCursor)
    if not unchecked_texts.is_unchecked(session):
        return session
    session.close()
    arguments |= {"client_encoding": unchecked_texts.ENCODING}
    session = psycopg.connect(**arguments, cursor_factory=_Utf8Cursor)
    unchecked_texts.read_each_by_itself(session)
    return session
