"""The fence of a run: which worker may report about it (I1).

The epoch fences a run from earlier and later ones. After a restore, or a failover to a standby that lagged, two workers
can hold the same epoch; then only the worker that the row names may report. A row without a name, as workers without our
protocol leave it, lets every worker report. The rule is written here twice: in Python and as a condition in SQL.
"""

from __future__ import annotations


def admits(row_worker: str | None, worker_id: str) -> bool:
    """Tell whether this worker may report about a run whose row names ``row_worker``."""
    return row_worker in {None, "", worker_id}


def in_statement(worker: str = "%(worker)s") -> str:
    """Return the same as a condition on the columns of ``jobs``; ``worker`` is the expression of the caller's id."""
    return f"coalesce(worker_id::text, '') IN ('', {worker})"
