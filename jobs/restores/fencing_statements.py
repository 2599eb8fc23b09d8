"""The statements that fence jobs, a page at a time, and that complete those of which an operator knows that they were done."""
# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from jobs.models import Status
from jobs.models.columns import JOBS
from opsconsole.kit.row_locks import if_free_in_statement

# A completed job never runs again.
FENCED = tuple(status.value for status in Status if status != Status.COMPLETED)

_JOBS, _STATUS, _ID = JOBS.aliased_rows, JOBS.our_status(), JOBS.sql_column("id", "job")

# Their times are not trusted: an epoch below the fence is from before. Only a later call, which goes on with a fencing, leaves
# runs alone that seem to have been created since it began. A pending job is sent again in any case, which is harmless.
# A candidate without a status was not fenced: another transaction keeps it locked, or a trigger or policy of theirs keeps the row.
FENCE = f"""
WITH candidates AS MATERIALIZED (
    SELECT id
      FROM {_JOBS}
     WHERE id > %(behind)s AND run_epoch < %(fence)s AND {_STATUS} = ANY(%(fenced)s)
       AND id <> ALL(%(told)s::{JOBS.id_type}[])
       AND (%(begun)s OR {_STATUS} = 'pending'
            OR created_at <= %(began_at)s OR created_at > statement_timestamp())
     ORDER BY id LIMIT %(size)s
), page AS MATERIALIZED (
    SELECT id, {_STATUS} AS was, run_epoch AS from_epoch, worker_id::text AS worker
      FROM {_JOBS}
     WHERE id = ANY(ARRAY(SELECT id FROM candidates))
       AND run_epoch < %(fence)s AND {_STATUS} = ANY(%(fenced)s)
     ORDER BY id
       {if_free_in_statement()}
), fenced AS (
    UPDATE {JOBS.sql} AS job
       SET run_epoch = %(fence)s,
           claimed_epoch = CASE WHEN page.was = 'in_progress' AND job.claimed_epoch = page.from_epoch
                                THEN %(fence)s ELSE job.claimed_epoch END
      FROM page WHERE {_ID} = page.id
    RETURNING {JOBS.returned("id", "job")}, {JOBS.returned("queue", "job")}, job.not_before, page.was, page.from_epoch, page.worker
), armed AS (
    INSERT INTO outbox (job_id, run_epoch, destination, dead_letter_id, queue, reason, retry, available_at)
    SELECT id, %(fence)s, 'queue', NULL, queue, %(why)s, true,
           greatest(coalesce(not_before, statement_timestamp()), statement_timestamp())
      FROM fenced WHERE was = 'pending'
    ON CONFLICT (job_id, run_epoch, destination) DO NOTHING
), letters AS (
    UPDATE outbox SET run_epoch = %(fence)s
      FROM fenced
     WHERE outbox.job_id = fenced.id AND outbox.run_epoch = fenced.from_epoch AND outbox.destination = 'dlq'
       AND outbox.state = 'waiting' AND fenced.was IN ('failed', 'quarantined')
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT id, %(fence)s, 'fenced', %(actor)s, %(reason)s, jsonb_build_object(
               'restore', %(restore)s, 'was', was, 'from_epoch', from_epoch, 'worker', worker)
      FROM fenced
)
SELECT id, fenced.was FROM candidates LEFT JOIN fenced USING (id) ORDER BY id
"""

COMPLETE = f"""
WITH candidates AS MATERIALIZED (
    SELECT id
      FROM {_JOBS}
     WHERE id = ANY(%(ids)s::{JOBS.id_type}[]) AND {
    _STATUS
} IN ('pending', 'in_progress', 'failed', 'quarantined')
), page AS MATERIALIZED (
    SELECT id, {_STATUS} AS was, run_epoch AS from_epoch, worker_id::text AS worker
      FROM {_JOBS}
     WHERE id = ANY(ARRAY(SELECT id FROM candidates))
       AND {_STATUS} IN ('pending', 'in_progress', 'failed', 'quarantined')
     ORDER BY id
       {if_free_in_statement()}
), ended AS (
    UPDATE {JOBS.sql} AS job
       SET run_epoch = greatest(job.run_epoch, %(fence)s), {
    JOBS.assignments(
        status=JOBS.status_written(Status.COMPLETED),
        error_message=JOBS.no_error,
        completed_at="statement_timestamp()",
        updated_at="statement_timestamp()",
    )
}
      FROM page WHERE {_ID} = page.id
    RETURNING {JOBS.returned("id", "job")}, job.run_epoch, page.was, page.from_epoch, page.worker
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT id, run_epoch, 'completed', %(actor)s, %(reason)s, jsonb_build_object(
               'restore', %(restore)s, 'was', was, 'from_epoch', from_epoch, 'worker', worker, 'told_by_operator', true)
      FROM ended
)
SELECT id, ended.id IS NOT NULL FROM candidates LEFT JOIN ended USING (id)
"""
