"""The numbers of PostgreSQL's advisory locks: whoever holds one keeps others from the same work, and from nothing else.

They are arbitrary, one per kind of work, and begin alike, so that a database administrator finds whose they are.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class AdvisoryLock(IntEnum):
    SCHEDULES = 7_340_113
    # Also written in the SQL function of the same name, in a migration.
    CLEANUP_RATE_LIMIT_REQUESTS = 7_340_114
    # Written only in the SQL function of that name, in a migration.
    CREATE_JOB_EVENT_PARTITIONS = 7_340_115
    MONITORS = 7_340_116
