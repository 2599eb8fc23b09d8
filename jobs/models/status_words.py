"""The column of a job's status, which may hold other words than ours: read, compared and written by the mapping.

Programs see our words only. A word that means none of our statuses is shown as it is, and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Lookup
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In

from jobs.models.columns import JOBS, ContractText


class StatusColumn(Col):
    """The column as a query reads it, in our words."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, parameters = self.word(compiler, connection)
        return JOBS.in_our_words(f"{column}::text"), parameters

    def word(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the column itself, with which indexes work."""
        column, parameters = super().as_sql(compiler, connection)
        return column, tuple(parameters)


class StatusField(ContractText):
    """The status of a job. Migrations see a ``ContractText``."""

    def get_col(self, alias: Any, output_field: Any = None) -> Any:
        if not JOBS.has_own_words:
            return super().get_col(alias, output_field)
        return StatusColumn(alias, self, output_field)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Return the word to write. Raise ``NoWord`` for a status for which the database has none."""
        return super().get_db_prep_save(JOBS.word_for(value) if isinstance(value, str) else value, connection)


class _InTheirWords(Lookup[Any]):
    """The part that both comparisons share: one of our statuses means several of their words."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        if not isinstance(self.lhs, StatusColumn) or not self.rhs_is_direct_value():
            return super().as_sql(compiler, connection)
        words = list(dict.fromkeys(word for status in self._asked() for word in JOBS.words(status)))
        if not words:
            raise EmptyResultSet
        column, parameters = self.lhs.word(compiler, connection)
        condition = "= %s" if len(words) == 1 else f"IN ({', '.join(['%s'] * len(words))})"
        return f"{column} {condition}", [*parameters, *words]

    def _asked(self) -> Iterable[str]:
        raise NotImplementedError


@StatusField.register_lookup
class _StatusExact(_InTheirWords, Exact[Any]):
    def _asked(self) -> Iterable[str]:
        return [str(self.rhs)]


@StatusField.register_lookup
class _StatusIn(_InTheirWords, In[Any]):
    def _asked(self) -> Iterable[str]:
        return [str(status) for status in self.rhs if status is not None]
