"""The sign of life on a job's row, where the mapping names one: a heartbeat of the run, told by a column instead of a table.

It counts for runs that no worker claimed with our protocol, which sends heartbeats. An empty column is no sign; neither is
a time from the future, whose clock is wrong, nor one that the run before left there: one from before the start, or, where that
is not known, from before the last change of the row.
"""

from __future__ import annotations

from typing import Any

from django.db.models import DateTimeField, F, Func

from jobs.models.columns import JOBS
from jobs.models.worker_observation import TOLERANCE_IN_STATEMENT


def in_statement(job: str) -> str | None:
    """Return when the row last told that the run is alive, as SQL; None where the mapping names no such sign.

    ``job`` names the row. A migration repeats this for ``find_stale_jobs``.
    """
    told_at = JOBS.life_at(job)
    if told_at is None:
        return None
    began = f"coalesce({JOBS.read('started_at', job)}, {JOBS.read('updated_at', job)}, '-infinity')"
    return (
        f"(CASE WHEN {job}.claimed_epoch IS NULL AND isfinite({told_at})"
        f" AND {told_at} <= statement_timestamp() + {TOLERANCE_IN_STATEMENT}"
        f" AND {told_at} >= {began} - {TOLERANCE_IN_STATEMENT} THEN {told_at} END)"
    )


class RowBeat(Func):
    """The same for a query on jobs. Without parameters."""

    output_field = DateTimeField()

    def __init__(self) -> None:
        super().__init__(F("claimed_epoch"))

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> tuple[str, tuple[Any, ...]]:
        [column] = self.get_source_expressions()
        return in_statement(compiler.quote_name_unless_alias(column.alias)) or "NULL::timestamptz", ()
