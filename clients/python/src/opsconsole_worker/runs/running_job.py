"""The job of a run, as its worker needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from opsconsole_worker.bounded_values import as_whole, read_document
from opsconsole_worker.runs.progress import Progress


@dataclass(frozen=True)
class RunningJob:
    """The job as it was when this run began. ``attempts`` is the number of earlier runs that reported a failure.

    ``package_size`` is text only where an existing column holds something else than a whole number.
    ``customer_id``, ``package_size`` and ``priority`` are None where the row has null. ``last_progress``: how far an earlier
    run was, None if none reported it.
    """

    id: UUID
    customer_id: str | None
    package_size: int | str | None
    priority: str | None
    payload: dict[str, Any]
    epoch: int
    attempts: int
    last_progress: Progress | None = None

    @classmethod
    def of_row(cls, row: Sequence[Any], last_progress: Progress | None = None) -> Self:
        """Return the job that ``statements.READ`` read. Raise ``UnreadableDocument`` if no program should follow its payload."""
        job_id, customer_id, size, priority, payload, epoch, attempts = row
        whole = as_whole(size)
        return cls(
            id=job_id,
            customer_id=customer_id,
            package_size=size if whole is None else whole,
            priority=priority,
            payload=read_document(payload),
            epoch=epoch,
            attempts=attempts,
            last_progress=last_progress,
        )
