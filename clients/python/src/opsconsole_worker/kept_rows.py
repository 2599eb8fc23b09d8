"""Rows that a change left as they were, without an error: a trigger of theirs returned NULL, or a policy hides them.

PostgreSQL reports zero rows then, as for a run that somebody else has taken. Whoever reads the row again in the same
transaction, and finds that the change should have met it, raises the ``RowKept`` of its database.
"""

from __future__ import annotations

SAID = "it left the row as it was, without an error"


class RowKept(Exception):
    """The database kept a row from being changed. Its only argument is the name of the table. Nothing was changed."""

    @property
    def rule(self) -> str:
        return f"a trigger that returns NULL, or a row-level policy, of table '{self.args[0]}'"

    def __str__(self) -> str:
        return f"{self.rule}: {SAID}"
