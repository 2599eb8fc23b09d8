"""Connections that count saved changes and tell a lost answer from a refused change (I14).

Django looks for the class ``DatabaseWrapper`` in this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.backends.postgresql import base

from opsconsole.kit.kept_changes import OutcomeUnknown

_LITERALS = re.compile(r"'[^']*'")
_READS = re.compile(
    r"\s*(SELECT|SHOW|SET|RESET|SAVEPOINT|RELEASE|ROLLBACK|EXPLAIN|VALUES|LOCK)\b", re.IGNORECASE
)
# A statement that calls a function of the database, or that consists of several, may write.
_MAY_WRITE = re.compile(
    r"(\bFROM|^\s*SELECT)\s+"
    r"(?!pg_|set_config|current_setting|statement_timestamp|unnest|generate_series|coalesce|exists"
    r"|count|sum|avg|min|max|bool_and|bool_or)"
    r"[\w.\"]+\s*\(|;\s*\S",
    re.IGNORECASE,
)


def writes(statement: object) -> bool:
    """Tell whether a statement may change data. In doubt it may."""
    text = _LITERALS.sub("''", str(statement))
    return not _READS.match(text) or bool(_MAY_WRITE.search(text))


class DatabaseWrapper(base.DatabaseWrapper):
    """``saved_changes`` is the number of transactions and single statements with changes that this connection saved."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.saved_changes = 0
        self._unsaved = False
        self.execute_wrappers.append(self._follow)

    def _follow(self, execute: Callable[..., Any], statement: Any, *others: Any) -> Any:
        if not writes(statement):
            return execute(statement, *others)
        if self.in_atomic_block:
            self._unsaved = True
            return execute(statement, *others)
        with self._doubting():
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
                raise OutcomeUnknown(*error.args) from error.__cause__
            raise
