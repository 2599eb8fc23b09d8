"""Whether the functions and indexes that ``migrate`` made fit the mapping of this process.

They hold names, types, words and the sign of life of the mapping that was in force. A later one would let statements miss
the indexes, and ``find_stale_jobs`` would read other columns than the sweep.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from django.db import connection

from opsconsole.kit import mapping
from opsconsole.kit.mapping import IN_PROGRESS, PENDING, Mapping, Table

FUNCTION = "find_stale_jobs"
SENTENCE = (
    "The mapping differs from the one that was in force when migrate made the console's functions and indexes, which don't "
    "fit it."
)
ACTION = (
    "Put back the file that OPSCONSOLE_MAPPING named then. To change it, uninstall the console (docs/leaving.md), then "
    "migrate with the new file."
)
_MADE_FOR = (
    f"SELECT substring(prosrc FROM '-- mapping: ([0-9a-z]+)') FROM pg_proc WHERE proname = '{FUNCTION}'"  # noqa: S608 - constants
)


def of(in_force: Mapping) -> str:
    """Return a word that changes with whatever of the mapping is built into functions and indexes.

    The schema of a table is left out: the search path may find the same one. So are words that no index holds.
    """
    parts = {table.contract: _built_in(table) for table in in_force.tables}
    parts["jobs"] |= {
        "words": {status: in_force.jobs.words(status) for status in (PENDING, IN_PROGRESS)},
        "life": asdict(in_force.jobs.life),
        "queues": None if in_force.jobs.queues is None else dict(in_force.jobs.queues),
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if in_force != Mapping() else "contract"


def has_changed() -> bool:
    """Tell whether migrate made its functions for another mapping; not if the function is somebody else's, or is missing."""
    with connection.cursor() as cursor:
        cursor.execute(_MADE_FOR)
        made_for = {word for (word,) in cursor.fetchall() if word}
    return bool(made_for) and of(mapping.current()) not in made_for


def _built_in(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "columns": dict(table.columns),
        "absent": [table.absent, *sorted(table.absent_columns)],
        "times": {name: [time.kind, time.zone] for name, time in table.times.items()},
        "id_type": table.id_type,
    }
