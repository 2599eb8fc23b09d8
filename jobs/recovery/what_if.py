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

# Runs that ended are counted by how many of the thresholds their silence reached (null: it is not on record), those that were
# taken by how many it reached until they were heard again (null: they were not). They are read apart: takings are few and have an
# index, and counting endings by one number needs no sort. Each part names the week, so that the server leaves the partitions of
# other months alone.
_QUESTION = """
WITH taken AS (
    SELECT id, job_id, run_epoch, (details->>'last_seen')::timestamptz AS last_seen
      FROM job_events
     WHERE at >= now() - make_interval(secs => %(looked_back)s) AND kind = ANY (%(takings)s) AND actor = %(sweep)s
), silences AS (
    SELECT extract(epoch FROM back.at - taken.last_seen)::float AS silence
      FROM taken
      LEFT JOIN LATERAL (
           SELECT min(later.at) AS at FROM job_events AS later
            WHERE later.job_id = taken.job_id AND later.id > taken.id
              AND later.at >= now() - make_interval(secs => %(looked_back)s)
              AND later.run_epoch = taken.run_epoch AND later.kind = ANY (%(signs)s)) AS back ON true
)
SELECT 'ended', width_bucket((details->>'longest_silence_seconds')::float, %(thresholds)s::float[]) AS reached, count(*)
  FROM job_events
 WHERE at >= now() - make_interval(secs => %(looked_back)s) AND kind = ANY (%(endings)s)
 GROUP BY reached
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
