"""What the database refused and why: the constraint, type or trigger behind the error of a change.

The tables that others read and write may have rules of their own, which only the database knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import psycopg

from opsconsole_worker.errors import first_line
from opsconsole_worker.kept_rows import SAID, RowKept

# Classes of SQLSTATE in which a rule for the data is the reason: data exception, integrity constraint violation, WITH
# CHECK OPTION violation, what applications raise by convention, and RAISE in PL/pgSQL; and a limit of the server, as of the
# length of what an index holds.
_CLASSES = ("22", "23", "44", "45", "54000", "P0")
_UNNAMED = {
    "22001": "the type of a column, which the value does not fit",
    "22003": "the type of a column, which the value does not fit",
    "54000": "a limit of PostgreSQL, which the value does not fit",
}
_CONFLICTS = {"23505", "23P01"}


@dataclass(frozen=True)
class Refusal:
    """A change that a rule of the database forbids. ``constraint`` is '' where the rule is no constraint.

    ``conflicts``: it would be allowed without a row that exists (a unique or exclusion constraint). ``said`` is
    PostgreSQL's own sentence, or that of a trigger. ``by`` names a rule that PostgreSQL does not name.
    """

    constraint: str
    table: str
    column: str
    said: str
    conflicts: bool
    by: str = ""

    @property
    def rule(self) -> str:
        """Name the rule for a person: "constraint 'one_per_day' of table 'jobs'"."""
        if self.constraint:
            return f"constraint '{self.constraint}'" + (f" of table '{self.table}'" if self.table else "")
        if self.column:
            return f"column '{self.column}'" + (f" of table '{self.table}'" if self.table else "")
        return self.by or "a rule of the database"

    @property
    def status(self) -> int:
        """Return the status of an HTTP response: 409 where something else is in the way, 422 where the data is wrong."""
        return HTTPStatus.CONFLICT if self.conflicts else HTTPStatus.UNPROCESSABLE_ENTITY

    @property
    def sentence(self) -> str:
        return f"The database refused it by {self.rule}: {self.said.rstrip('.')}."


def of(error: BaseException | None) -> Refusal | None:
    """Return why the database refused a change; None when a rule for the data was not the reason."""
    if isinstance(error, RowKept):
        return Refusal("", table="", column="", said=SAID, conflicts=False, by=error.rule)
    cause = error if error is None or isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error) or not (cause.sqlstate or "").startswith(_CLASSES):
        return None
    diagnostics = cause.diag
    return Refusal(
        constraint=diagnostics.constraint_name or "",
        table=diagnostics.table_name or "",
        column=diagnostics.column_name or "",
        said=diagnostics.message_primary or first_line(cause),
        conflicts=cause.sqlstate in _CONFLICTS,
        by=_UNNAMED.get(cause.sqlstate or "", ""),
    )
