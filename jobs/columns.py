"""Contract columns that an existing database may call by another name (setting OPSCONSOLE_COLUMNS)."""

from typing import Any

from django.conf import settings
from django.db import models


def column(contract_name: str) -> str:
    """The database's name for a contract column, e.g. ``worker_heartbeats.last_heartbeat`` -> ``last_seen``."""
    mapped: str | None = settings.OPSCONSOLE_COLUMNS.get(contract_name)
    return mapped or contract_name.partition(".")[2]


class ContractText(models.TextField):  # type: ignore[type-arg]  # generic to the type checker alone
    """A text column that an existing database may keep as uuid, integer or an enum: always read as text.

    PostgreSQL reads the untyped literals that Django sends as the column's own type, so comparing and
    writing need no cast; a value that the column's type refuses raises ``DataError``.
    """

    def from_db_value(self, value: Any, *_: Any) -> str | None:
        return None if value is None else str(value)
