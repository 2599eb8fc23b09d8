"""Whose a worker's id is: the API key by which a worker first reported keeps the id as long as the worker lives.

Another key that knows the id can neither keep that worker alive nor make it look gone, nor claim in its name. A successor
of the key counts as the same. A worker that has the database itself may use any id. The row of a worker keeps the key;
a row of a program that knows nothing of keys belongs to the first key that reports under its id.
"""

from __future__ import annotations

from opsconsole_worker.errors import OpsConsoleError
from opsconsole_worker.runs.tables import HEARTBEATS


class WorkerIdTaken(OpsConsoleError):
    """Another API key reports under this worker id."""

    sentence = (
        "Another API key reports under this worker_id, and its worker is alive. Nothing was changed: use an id that is new for "
        "every start."
    )

    def __init__(self) -> None:
        super().__init__(self.sentence)


def _free(row: str, beat: str) -> str:
    return (
        f"(%(key)s::text = '' OR coalesce({row}.metadata ->> 'key', %(key)s::text) = %(key)s::text"
        f" OR {beat} < statement_timestamp() - %(lives)s::interval)"
    )


# Conditions of statements about one worker. The first is about the row that it writes; the second is for the rest.
FREE = _free("worker_heartbeats", HEARTBEATS.read("last_heartbeat", "worker_heartbeats"))
TAKEN = (
    f"EXISTS (SELECT FROM {HEARTBEATS.rows} AS theirs"
    f" WHERE theirs.worker_id = %(worker)s AND NOT {_free('theirs', 'theirs.last_heartbeat')})"
)
