"""What would another threshold have done in the last week? Answered from the timeline, changing nothing.

Each run that ended says on its timeline how long its worker was silent at most; each run that was taken from its
worker says since when it had been silent, and a late sign of life tells that the worker was alive after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection

from jobs.models import JobEvent
from jobs.timeline import SWEEP

LOOKED_BACK = timedelta(days=7)

# ``silence``: for how long nothing was heard of the run; null for one that was never heard of again.
_QUESTION = """
WITH ended AS (
    SELECT (details->>'longest_silence_seconds')::float AS silence, true AS alive
      FROM job_events
     WHERE at >= now() - make_interval(secs => %(looked_back)s) AND kind = ANY (%(endings)s)
), taken AS (
    SELECT extract(epoch FROM back.at - (event.details->>'last_seen')::timestamptz)::float AS silence,
           back.at IS NOT NULL AS alive
      FROM job_events AS event
      LEFT JOIN LATERAL (
           SELECT min(later.at) AS at FROM job_events AS later
            WHERE later.job_id = event.job_id AND later.id > event.id
              AND later.run_epoch = event.run_epoch AND later.kind = ANY (%(signs)s)) AS back ON true
     WHERE event.at >= now() - make_interval(secs => %(looked_back)s) AND event.kind = ANY (%(takings)s) AND event.actor = %(sweep)s
), runs AS (
    SELECT * FROM ended WHERE silence IS NOT NULL
    UNION ALL SELECT * FROM taken
)
SELECT threshold,
       count(*) FILTER (WHERE NOT alive OR silence >= threshold) AS rescued,
       count(*) FILTER (WHERE alive AND silence >= threshold) AS alive,
       (SELECT count(*) FROM ended WHERE silence IS NULL) AS unknown,
       count(runs.*) AS known
  FROM unnest(%(thresholds)s::float[]) AS threshold LEFT JOIN runs ON true
 GROUP BY threshold ORDER BY threshold
"""


@dataclass(frozen=True)
class Answer:
    """For one threshold: how many runs it would have taken from their workers, and how many of those were alive.

    ``known``: the runs whose silence is on record; ``unknown``: those that ended without it (workers of the old kind).
    """

    threshold: timedelta
    rescued: int
    alive: int
    known: int
    unknown: int


def would_have(thresholds: Sequence[timedelta]) -> list[Answer]:
    """One answer for each threshold, the shortest first."""
    kinds = JobEvent.Kind
    with connection.cursor() as cursor:
        cursor.execute(
            _QUESTION,
            {
                "looked_back": LOOKED_BACK.total_seconds(),
                "thresholds": sorted({threshold.total_seconds() for threshold in thresholds}),
                "endings": [kinds.COMPLETED.value, kinds.FAILED.value, kinds.RETRY_SCHEDULED.value],
                "takings": [kinds.RECOVERED.value, kinds.QUARANTINED.value],
                "signs": [kinds.LATE_RESULT_REJECTED.value, kinds.PROGRESS.value],
                "sweep": SWEEP.name,
            },
        )
        return [
            Answer(timedelta(seconds=seconds), rescued, alive, known, unknown)
            for seconds, rescued, alive, unknown, known in cursor.fetchall()
        ]
