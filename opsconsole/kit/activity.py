"""The activity log: one line per thing that was done, with what it was done to.

A line is written once the transaction that did it has committed: what was rolled back stands in no log. Its facts are ids,
names and numbers, never contents of a job or of a message. ``opsconsole_worker.log_lines`` decides how a line looks, and has the
facts that all lines of a block share: ``with activity.about(sweep=17):``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django.db import connection, transaction

from opsconsole_worker.log_lines import about, current_facts, tell, together

__all__ = ["about", "done", "done_to_each"]

logger = logging.getLogger("opsconsole.activity")


def done(what: str, *, level: int = logging.INFO, **facts: Any) -> None:
    """Write one line, such as ``done("run recovered", job=job.pk, run=3)``. Facts that are None are left out."""
    if not logger.isEnabledFor(level):
        return
    # Taken now: the transaction may end after the block that knows them.
    write = partial(tell, what, level, {**current_facts(), **facts})
    # Without a transaction there is nothing to wait for, and the database may be away.
    if connection.in_atomic_block:
        transaction.on_commit(write, robust=True)
    else:
        write()


def done_to_each(
    what: str, rows: Sequence[Mapping[str, Any]], *, level: int = logging.INFO, **shared: Any
) -> None:
    """Write what was done to all of these, up to ten per line. Each row has the facts that are its own, such as its job."""
    if logger.isEnabledFor(level):
        for facts in together(rows):
            done(what, level=level, **facts, **shared)
