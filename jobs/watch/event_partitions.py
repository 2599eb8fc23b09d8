"""The monthly partitions of ``job_events``: those of this month and of the next ones exist before they are needed."""

from __future__ import annotations

import logging

from django.db import DatabaseError, connection, transaction

from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import first_line

logger = logging.getLogger(__name__)

MONTHS_AHEAD = 3
# Attaching a partition locks the default one and reads it, which takes no time while it is empty. Nobody waits longer.
TIMEOUT_MS = 3_000
# Of each partition that was missing, by what the function answers.
OUTCOMES = {True: "created", False: "not created (its events lie in job_events_default)"}


def create_missing() -> str:
    """Create the partitions that are missing; returns what was created, or why it was not, for the task's record.

    No write depends on it: events of a month that has no partition go to the default one.
    """
    try:
        with transaction.atomic():
            rows = _create_missing()
    except DatabaseError as error:
        # Whether they were created may be unknown.
        if trouble_behind(error) is Trouble.AWAY:
            raise
        logger.warning("Partitions of job_events are not created: %s", first_line(error))
        return f"not created ({first_line(error)})"
    blocked = [name for name, created in rows if not created]
    if blocked:
        logger.warning("Events of %s lie in job_events_default: no partition is created.", ", ".join(blocked))
    return ", ".join(f"{name} {OUTCOMES[created]}" for name, created in rows) or "none missing"


def _create_missing() -> list[tuple[str, bool]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT_MS)])
        cursor.execute("SELECT partition_name, created FROM create_job_event_partitions(%s)", [MONTHS_AHEAD])
        return list(cursor.fetchall())
