"""How the contract tables are shaped in this database: their names, their columns, their types and their status words.

``opsconsole_worker.mapping`` defines it, because workers without the console read the same file. ``current()`` returns the
mapping of this console. Models, SQL, migrations and the inspector ask it; nothing else knows the name of a column or a
status word of somebody else.
"""

from __future__ import annotations

from django.conf import settings

from opsconsole_worker.mapping.contract_words import (
    ADDED_WHEN_ABSENT,
    BEATS,
    CANCELLED,
    COMPLETED,
    CONTRACT_COLUMNS,
    DEFAULT_QUEUE,
    EPOCH_MILLISECONDS,
    EPOCH_SECONDS,
    FAILED,
    ID_TYPES,
    IN_PROGRESS,
    JOB_COLUMN,
    LIVES,
    LONGEST_WORD,
    OWN_COLUMNS,
    PENDING,
    QUARANTINED,
    STATUSES,
    TIME_KINDS,
    TIMES,
    UPDATED_AT,
    VISIBILITY,
    WITH_ZONE,
    WITHOUT_ZONE,
    WORKER_BEATS,
    WRITTEN_AS_FAILED,
)
from opsconsole_worker.mapping.mapped_jobs import Jobs, Life, NoWord
from opsconsole_worker.mapping.mapped_tables import Table, Time, literal, quoted
from opsconsole_worker.mapping.whole_mapping import Mapping

__all__ = [
    "ADDED_WHEN_ABSENT",
    "BEATS",
    "CANCELLED",
    "COMPLETED",
    "CONTRACT_COLUMNS",
    "DEFAULT_QUEUE",
    "EPOCH_MILLISECONDS",
    "EPOCH_SECONDS",
    "FAILED",
    "ID_TYPES",
    "IN_PROGRESS",
    "JOB_COLUMN",
    "LIVES",
    "LONGEST_WORD",
    "OWN_COLUMNS",
    "PENDING",
    "QUARANTINED",
    "STATUSES",
    "TIMES",
    "TIME_KINDS",
    "UPDATED_AT",
    "VISIBILITY",
    "WITHOUT_ZONE",
    "WITH_ZONE",
    "WORKER_BEATS",
    "WRITTEN_AS_FAILED",
    "Jobs",
    "Life",
    "Mapping",
    "NoWord",
    "Table",
    "Time",
    "current",
    "literal",
    "quoted",
]


def current() -> Mapping:
    """Return the mapping of this process. It never changes while it runs, since models are made of it at import."""
    mapping: Mapping = settings.OPSCONSOLE_MAPPING
    return mapping
