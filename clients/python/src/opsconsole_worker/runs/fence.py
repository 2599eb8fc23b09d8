"""The fence of a run: which worker may report about it (I1).

The epoch fences a run from earlier and later ones. After a restore, or a failover to a standby that lagged, two workers
can hold the same epoch; then only the worker that the row names may report. A row without a name, as workers without our
protocol leave it, lets every worker report.

The API key that claimed a run is part of the fence, too: another key that knows the worker's id may not end its run. A
successor of the key counts as the same. The row keeps the key with its epoch; a claim without a key, by a worker that
has the database itself, is kept as such. Where nothing is kept for the epoch, the claim came from a program that knows
nothing of keys, and the worker's id decides alone.
"""

from __future__ import annotations


def in_statement(worker: str = "%(worker)s", key: str = "%(key)s") -> str:
    """Return both rules as a condition on the columns of ``jobs``; the parameters are expressions of the caller's id and key."""
    return f"(coalesce(worker_id::text, '') IN ('', {worker}) AND {key_in_statement(key)})"


def key_in_statement(key: str = "%(key)s") -> str:
    """Return the rule of keys as a condition on the columns of ``jobs``."""
    return (
        "(claimed_by_key IS NULL OR NOT starts_with(claimed_by_key, run_epoch || ':')"
        f" OR claimed_by_key = run_epoch || ':' || {key}::text)"
    )
