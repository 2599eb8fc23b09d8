"""The editor of the schema, which leaves to others nothing of what it creates."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from django.db.backends.postgresql import schema

from opsconsole.kit import mapping
from opsconsole.kit.inherited_grants import Creations


class DatabaseSchemaEditor(schema.DatabaseSchemaEditor):
    """``creations``: what is new since the editor began. Inherited privileges on it are revoked before the commit."""

    creations: Creations | None = None

    def __enter__(self) -> Self:
        if not self.collect_sql:
            self.creations = Creations(self.connection)
        super().__enter__()
        return self

    def execute(self, sql: Any, params: Any = ()) -> None:
        """Execute a statement. Those of migrations ask the contract tables by their names in the contract."""
        super().execute(mapping.current().named(sql) if isinstance(sql, str) else sql, params)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None or self.creations is None:
            super().__exit__(exc_type, exc_value, traceback)
            return
        try:
            while self.deferred_sql:
                self.execute(str(self.deferred_sql.pop(0)), None)
            self.creations.take_back()
        except BaseException as error:
            super().__exit__(type(error), error, error.__traceback__)
            raise
        super().__exit__(None, None, None)
