"""Looks at the heartbeats: whose clock is wrong, which id serves several processes, and which workers name their jobs.

A look compares each row with what the last look saw, and writes only what a verdict needs later. It runs with each sweep
and each minute.
"""
# ruff: noqa: S608 - only names from this code and from the operator's file are put together

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from jobs.models import Status
from jobs.models.columns import HEARTBEATS, JOBS
from jobs.models.worker_observation import TOLERANCE_IN_STATEMENT
from opsconsole.kit.advisory_locks import AdvisoryLock
from opsconsole_worker.database.finite_times import finite_in_statement

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

# New workers recorded per look; the next look continues.
MOST_NEW_WORKERS = 20_000
# In bytes. Longer ids and names of queues do not fit into an index entry; such workers are believed, such queues not measured.
LONGEST_ID = 1_000

# A heartbeat that changed since the last look was sent after it, and before now. Hence a time outside this window, by more
# than the tolerance, shows that the clock is wrong. Its offset is known to lie between two bounds; the estimate of earlier
# looks is kept where it fits. Rows without a key on worker_id may be several: those are left alone.
# A worker is first recorded with a fresh heartbeat, idle, or with a run that still counts: not when its run was just taken.
_LOOK_AT_BEATS = """
WITH look AS (
    SELECT statement_timestamp() AS at, coalesce(beats_looked_at, '-infinity') AS looked_at FROM recovery_control
), beats AS (
    SELECT beat.worker_id, beat.last_heartbeat AS beat_at, {written_at} AS written_at, beat.current_job_id, beat.current_run_epoch,
           left(concat_ws(' ', beat.pid, beat.started_at, beat.hostname), 300) AS process,
           seen.worker_id IS NOT NULL AS known, seen.seen_at, seen.clock_offset,
           seen.process AS last_process, seen.process_before, seen.shared_at,
           seen.beat_at IS DISTINCT FROM beat.last_heartbeat AS changed, look.at, look.looked_at
      FROM look, {beats} AS beat
      LEFT JOIN worker_observations AS seen ON seen.worker_id = beat.worker_id
     WHERE beat.worker_id NOT IN (SELECT worker_id FROM {beats} AS beat GROUP BY worker_id HAVING count(*) > 1)
       AND octet_length(beat.worker_id) <= {longest_id}
), judged AS (
    SELECT *,
           CASE WHEN NOT changed THEN seen_at IS NOT NULL
                WHEN beat_at > at + {tolerance} THEN true
                WHEN NOT known THEN false
                WHEN beat_at < looked_at - {tolerance} THEN true
                ELSE seen_at IS NOT NULL AND NOT beat_at BETWEEN looked_at AND at END AS is_off,
           known AND process <> last_process AS other_process
      FROM beats
), chosen AS (
    SELECT *,
           CASE WHEN NOT is_off THEN NULL
                WHEN NOT changed THEN clock_offset
                WHEN NOT isfinite(looked_at) THEN written_at - at
                ELSE greatest(written_at - at,
                              least(coalesce(clock_offset, written_at - at), written_at - looked_at)) END AS is_ahead_by
      FROM judged
     WHERE known AND (other_process OR changed AND (is_off OR seen_at IS NOT NULL OR beat_at < at - {tolerance}))
        OR NOT known AND (is_off OR current_job_id IS NULL OR beat_at >= at - {tolerance}
                          OR EXISTS (SELECT FROM {jobs} WHERE jobs.id = judged.current_job_id AND {is_running}
                                        AND jobs.run_epoch = coalesce(judged.current_run_epoch, jobs.run_epoch)))
     ORDER BY known DESC, beat_at DESC
     LIMIT {most} + (SELECT count(*) FROM worker_observations)
)
INSERT INTO worker_observations AS seen
       (worker_id, beat_at, seen_at, clock_offset, process, process_before, shared_at)
SELECT worker_id, beat_at, CASE WHEN NOT is_off THEN NULL WHEN changed THEN written_at - is_ahead_by ELSE seen_at END,
       is_ahead_by, process, CASE WHEN other_process THEN last_process ELSE process_before END,
       CASE WHEN other_process AND process = process_before THEN at ELSE shared_at END
  FROM chosen
    ON CONFLICT (worker_id) DO UPDATE
   SET beat_at = excluded.beat_at, seen_at = excluded.seen_at, clock_offset = excluded.clock_offset,
       process = excluded.process, process_before = excluded.process_before, shared_at = excluded.shared_at
"""

_LOOKED = "UPDATE recovery_control SET beats_looked_at = statement_timestamp() WHERE id = 1"

# An id with several runs at once. A run that began before the process did is one that it has left.
_NOTE_SHARED_IDS = """
INSERT INTO worker_observations AS seen (worker_id, beat_at, shared_at)
SELECT worker_id, min(beat.last_heartbeat), statement_timestamp()
  FROM {jobs} JOIN {beats} AS beat USING (worker_id)
 WHERE {is_running} AND octet_length(worker_id) <= {longest_id}
   AND CASE WHEN jobs.started_at <= statement_timestamp() + {tolerance} THEN jobs.started_at ELSE jobs.updated_at END
       >= greatest(beat.started_at, '1000-01-01') - {tolerance}
 GROUP BY worker_id HAVING count(DISTINCT jobs.id) > 1
    ON CONFLICT (worker_id) DO UPDATE SET shared_at = excluded.shared_at
"""

# Runs from their second minute to the end of their first day. Each counts once, and as named as soon as a heartbeat names it:
# the silence of a dead run says nothing new about its queue. Old runs lose weight.
_MEASURE_NAMING = """
WITH running AS (
    SELECT jobs.id, jobs.run_epoch, jobs.queue, measured.named AS named_before,
           EXISTS (SELECT FROM {beats} AS beat WHERE beat.current_job_id = jobs.id) AS named
      FROM {jobs}
      LEFT JOIN measured_runs AS measured ON measured.job_id = jobs.id AND measured.run_epoch = jobs.run_epoch
     WHERE {is_running} AND jobs.claimed_epoch IS DISTINCT FROM jobs.run_epoch
       AND octet_length(jobs.queue) <= {longest_id}
       AND coalesce(jobs.started_at, jobs.updated_at) BETWEEN statement_timestamp() - interval '1 day'
                                                          AND statement_timestamp() - interval '1 minute'
), news AS (
    SELECT * FROM running WHERE named_before IS NULL OR named AND NOT named_before
), noted AS (
    INSERT INTO measured_runs (job_id, run_epoch, named) SELECT id, run_epoch, named FROM news
        ON CONFLICT (job_id) DO UPDATE SET run_epoch = excluded.run_epoch, named = excluded.named
)
INSERT INTO queue_naming AS before (queue, seen, named, measured_at)
SELECT queue, count(*) FILTER (WHERE named_before IS NULL), count(*) FILTER (WHERE named), statement_timestamp()
  FROM news
 GROUP BY queue
    ON CONFLICT (queue) DO UPDATE
   SET seen = before.seen * CASE WHEN before.seen < 1000 THEN 1 ELSE 0.5 END + excluded.seen,
       named = least(before.named * CASE WHEN before.seen < 1000 THEN 1 ELSE 0.5 END + excluded.named,
                     before.seen * CASE WHEN before.seen < 1000 THEN 1 ELSE 0.5 END + excluded.seen),
       measured_at = excluded.measured_at
"""


_NAMES = {
    "jobs": JOBS.aliased_rows,
    "beats": HEARTBEATS.rows,
    "is_running": JOBS.is_status(Status.IN_PROGRESS, of="jobs"),
    "tolerance": TOLERANCE_IN_STATEMENT,
    "longest_id": LONGEST_ID,
}


def look_at_workers() -> None:
    """Note which ids serve several jobs at once, and how many runs a heartbeat has named."""
    with transaction.atomic(), connection.cursor() as cursor:
        if _is_alone(cursor):
            cursor.execute(_NOTE_SHARED_IDS.format(**_NAMES))
            cursor.execute(_MEASURE_NAMING.format(**_NAMES))


def look_at_beats() -> None:
    """Record the heartbeats of wrong clocks and of silent workers, and processes that take turns under one id.

    Two looks at once would measure from different beginnings, so the second one is left out.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        if _is_alone(cursor):
            cursor.execute(
                _LOOK_AT_BEATS.format(
                    **_NAMES,
                    written_at=finite_in_statement("beat.last_heartbeat"),
                    most=MOST_NEW_WORKERS,
                )
            )
            cursor.execute(_LOOKED)


def _is_alone(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [AdvisoryLock.OBSERVATIONS])
    return bool(cursor.fetchone()[0])


def forget_gone_workers() -> int:
    """Delete what was observed of workers that have no heartbeat any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM worker_observations AS seen"
            f" WHERE NOT EXISTS (SELECT FROM {HEARTBEATS.rows} AS beat WHERE beat.worker_id = seen.worker_id)"
        )
        forgotten: int = cursor.rowcount
        return forgotten


def forget_ended_runs() -> int:
    """Delete the notes that a run was measured, once it has ended."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM measured_runs AS measured"
            f" WHERE NOT EXISTS (SELECT FROM {JOBS.aliased_rows} WHERE jobs.id = measured.job_id AND {_NAMES['is_running']}"
            "                      AND jobs.run_epoch = measured.run_epoch)"
        )
        forgotten: int = cursor.rowcount
        return forgotten
