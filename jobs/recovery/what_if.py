"""What-if analysis: what another threshold would have done in the last week, read from the timeline.

Each ended run has its worker's longest silence on the timeline. Each run that was taken from its worker has the start
of its silence; a later sign of life shows that the worker was alive after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection

from jobs.models import JobEvent
from jobs.runs.timeline import SWEEP

LOOKED_BACK = timedelta(days=7)

# The week is read once, by several processes of the server: runs that ended are counted by how many of the thresholds their
# silence reached (null: it is not on record); those that were taken come one by one, to be looked up (null: not heard again).
# Each part names the week, so that the server leaves the partitions of other months alone.
_QUESTION = """
WITH week AS (
    SELECT CASE WHEN kind = ANY (%(takings)s) THEN id END AS taken,
           CASE WHEN kind = ANY (%(takings)s) THEN job_id END AS job_id,
           CASE WHEN kind = ANY (%(takings)s) THEN run_epoch END AS run_epoch,
           CASE WHEN kind = ANY (%(takings)s) THEN (details->>'last_seen')::timestamptz END AS last_seen,
           CASE WHEN kind = ANY (%(endings)s)
                THEN width_bucket((details->>'longest_silence_seconds')::float, %(thresholds)s::float[]) END AS reached,
           count(*) AS runs
      FROM job_events
     WHERE at >= now() - make_interval(secs => %(looked_back)s)
       AND (kind = ANY (%(endings)s) OR kind = ANY (%(takings)s) AND actor = %(sweep)s)
     GROUP BY 1, 2, 3, 4, 5
), silences AS (
    SELECT extract(epoch FROM back.at - week.last_seen)::float AS silence
      FROM week
      LEFT JOIN LATERAL (
           SELECT min(later.at) AS at FROM job_events AS later
            WHERE later.job_id = week.job_id AND later.id > week.taken
              AND later.at >= now() - make_interval(secs => %(looked_back)s)
              AND later.run_epoch = week.run_epoch AND later.kind = ANY (%(signs)s)) AS back ON true
     WHERE week.taken IS NOT NULL
)
SELECT 'ended', reached, runs FROM week WHERE taken IS NULL
UNION ALL
SELECT 'taken', width_bucket(silence, %(thresholds)s::float[]) AS reached, count(*) FROM silences GROUP BY reached
"""


@dataclass(frozen=True)
class WhatIfAnswer:
    """The answer for one threshold: how many runs it would have taken from their workers, and how many workers were alive.

    ``known``: the runs whose silence is on record; ``unknown``: those that ended without it (workers without epochs).
    """

    threshold: timedelta
    rescued: int
    alive: int
    known: int
    unknown: int


def would_have(thresholds: Sequence[timedelta]) -> list[WhatIfAnswer]:
    """Return one answer per threshold, shortest first."""
    ordered = sorted(set(thresholds))
    rows = _counted(ordered)
    dead = sum(count for kind, reached, count in rows if reached is None and kind == "taken")
    unknown = sum(count for kind, reached, count in rows if reached is None and kind == "ended")
    heard = [(reached, count) for _, reached, count in rows if reached is not None]
    known = dead + sum(count for _, count in heard)
    return [
        WhatIfAnswer(threshold, dead + alive, alive, known, unknown)
        for place, threshold in enumerate(ordered, start=1)
        for alive in [sum(count for reached, count in heard if reached >= place)]
    ]


def _counted(thresholds: Sequence[timedelta]) -> list[tuple[str, int | None, int]]:
    kinds = JobEvent.Kind
    with connection.cursor() as cursor:
        cursor.execute(
            _QUESTION,
            {
                "looked_back": LOOKED_BACK.total_seconds(),
                "thresholds": [threshold.total_seconds() for threshold in thresholds],
                "endings": [kinds.COMPLETED.value, kinds.FAILED.value, kinds.RETRY_SCHEDULED.value],
                "takings": [kinds.RECOVERED.value, kinds.QUARANTINED.value],
                "signs": [kinds.LATE_RESULT_REJECTED.value, kinds.PROGRESS.value],
                "sweep": SWEEP.name,
            },
        )
        return list(cursor.fetchall())
