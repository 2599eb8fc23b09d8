"""The column of a job's queue, which may hold words of others: read, compared and written by the mapping."""

from __future__ import annotations

from typing import Any

from jobs.models.columns import JOBS
from opsconsole.kit.bounded_columns import BoundedName
from opsconsole.kit.mapped_fields import MappedColumn


class QueueField(BoundedName[str, str]):
    """The name of a job's queue. Migrations see a text column."""

    of_contract = (JOBS, "queue")

    def get_col(self, alias: Any, output_field: Any = None) -> Any:
        if JOBS.queues is None:
            return super().get_col(alias, output_field)
        return MappedColumn(alias, self, output_field)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        """Return the word to write."""
        return super().get_db_prep_save(
            JOBS.queue_written(value) if isinstance(value, str) else value, connection
        )
