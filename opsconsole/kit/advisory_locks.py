"""The numbers of PostgreSQL's advisory locks, each of which serialises one kind of work.

They are arbitrary and share a prefix, so that a database administrator can recognise them.
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
    OBSERVATIONS = 7_340_117
    RESTORES = 7_340_118
    SEALS = 7_340_119
    RULES = 7_340_121
    PAUSES = 7_340_122
    EVENT_MONTHS = 7_340_123
    AUDIT_LINES = 7_340_124
    # Shared by sign-ins, taken alone by back-channel log-outs.
    PROVIDER_SESSIONS = 7_340_125
    RUN_ROLLUPS = 7_340_156
