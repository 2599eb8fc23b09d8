"""Schema changes that are safe on somebody else's live table.

Contract tables belong to the outside: locks on them are short and given up rather than queued for, indexes
are built concurrently, and nothing of theirs is dropped or altered, forwards or back.
"""

from __future__ import annotations

import time
from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import OperationalError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from psycopg.errors import LockNotAvailable

LOCK_TIMEOUT_MS = 2_000
LOCK_TRIES = 10
PAUSE_SECONDS = 1.0


class ShortLockSQL(Operation):
    """Run each statement by itself, waiting at most two seconds for a lock, then letting others pass.

    A waiting ALTER TABLE blocks every query behind it; so it gives up early and tries again. Nothing is
    undone on the way back: columns of ours may stay, rows of theirs must.
    """

    reduces_to_sql = True
    reversible = True
    atomic = False

    def __init__(self, *statements: str) -> None:
        self.statements = statements

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The database alone changes; the model's state is given beside it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if schema_editor.collect_sql:
            for statement in self.statements:
                schema_editor.execute(statement)
            return
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
            try:
                for statement in self.statements:
                    _execute_patiently(cursor, statement)
            finally:
                cursor.execute("RESET lock_timeout")

    def database_backwards(self, *_: Any) -> None:
        """Nothing: see the class."""

    def describe(self) -> str:
        return "Add what is missing to the contract's tables"


def _execute_patiently(cursor: Any, statement: str) -> None:
    for attempt in range(1, LOCK_TRIES + 1):
        try:
            cursor.execute(statement)
        except OperationalError as error:
            if attempt == LOCK_TRIES or not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return


class AddIndexOnline(AddIndexConcurrently):
    """Build an index without blocking writers; a half-built leftover of an earlier try is replaced."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        valid = self._existing_is_valid(schema_editor)
        if valid:
            return
        if valid is False:
            schema_editor.execute(f"DROP INDEX CONCURRENTLY {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, *_: Any) -> None:
        """The index stays: dropping it would slow the outside's table down and free nothing that is needed."""

    def _existing_is_valid(self, schema_editor: BaseDatabaseSchemaEditor) -> bool | None:
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [self.index.name]
            )
            row = cursor.fetchone()
        return row[0] if row else None
