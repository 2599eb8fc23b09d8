"""The SQL of claims, notes and ends of runs, each for one round trip (``opsconsole_worker.database.door``).

A host that disappears in the middle leaves no transaction open. docs/workers.md has the same statements for workers in
other languages; tests/jobs/worker/test_documented_sql.py holds the two together.
"""
# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from opsconsole_worker.bounded_values import cut_in_statement
from opsconsole_worker.database import row_locks
from opsconsole_worker.database.finite_times import finite_in_statement
from opsconsole_worker.runs import fence
from opsconsole_worker.runs.beat_statements import LONGEST_SILENCE, THIS_RUN, idle_beat, run_beat
from opsconsole_worker.runs.restart import new_deadline_in_statement, restart_in_statement
from opsconsole_worker.runs.tables import HEARTBEATS, JOBS
from opsconsole_worker.runs.worker_ids import TAKEN

_ID, _STATUS = JOBS.sql_column("id"), JOBS.our_status()
_JOBS = JOBS.aliased_rows
_NOW = "statement_timestamp()"
_ENDED = ("%(job_id)s", "%(epoch)s")

# A dead letter that was moved back outside the console restarts its dead job and claims the new run at once. Of a claim
# without an answer, ``mine`` is the run that it got. The last statement says why a claim was refused.
CLAIM = f"""
WITH run AS (
    UPDATE {JOBS.aliased}
       SET {JOBS.assignments(status=JOBS.status_written("in_progress"))}, worker_id = %(worker)s,
           run_epoch = run_epoch + ({_STATUS} <> 'pending')::int,
           claimed_epoch = run_epoch + ({_STATUS} <> 'pending')::int,
           claimed_by_key = run_epoch + ({_STATUS} <> 'pending')::int || ':' || %(key)s::text,
           recovery_count = CASE {_STATUS} WHEN 'pending' THEN recovery_count ELSE 0 END,
           attempts = CASE {_STATUS} WHEN 'pending' THEN attempts ELSE 0 END,
           not_before = CASE {_STATUS} WHEN 'pending' THEN not_before END,
           deadline_at = CASE {_STATUS} WHEN 'pending' THEN deadline_at ELSE {new_deadline_in_statement("jobs")} END,
           {JOBS.assignments(started_at=_NOW, completed_at="NULL", updated_at=_NOW)}
     WHERE {_ID} = %(job_id)s AND run_epoch = coalesce(%(epoch)s, run_epoch)
       AND ({_STATUS} = 'pending' AND coalesce(not_before, statement_timestamp()) <= statement_timestamp()
            OR %(redriven)s AND {_STATUS} IN ('failed', 'quarantined'))
       AND NOT {TAKEN}
    RETURNING {JOBS.returned("id")}, run_epoch
), mine AS (
    SELECT id, run_epoch FROM {_JOBS}
     WHERE %(asked_before)s AND id = %(job_id)s AND {_STATUS} = 'in_progress' AND worker_id::text = %(worker)s
       AND claimed_epoch = run_epoch
       AND {fence.key_in_statement()}
       AND run_epoch - coalesce(%(epoch)s, run_epoch) BETWEEN 0 AND %(redriven)s::int
       {row_locks.in_statement()}
), won AS (
    SELECT * FROM run UNION ALL SELECT * FROM mine
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason)
    SELECT id, run_epoch, 'requeued', 'external redrive',
           'Its dead letter was moved back to the queue outside the console.'
      FROM run WHERE run_epoch > %(epoch)s
     UNION ALL
    SELECT id, run_epoch, 'claimed', %(actor)s, '' FROM run
), {run_beat("won")}
SELECT run_epoch FROM won;

SELECT {_STATUS}, run_epoch, claimed_epoch,
       {finite_in_statement("not_before")} - statement_timestamp(), {TAKEN} FROM {_JOBS} WHERE id = %(job_id)s
"""

# What a worker needs of the job, apart from the claim: a large payload must not hold up a transaction.
READ = f"""
SELECT id, {JOBS.read("customer_id", "jobs")}::text, {cut_in_statement(JOBS.read("package_size", "jobs"))},
       {JOBS.read("priority_level", "jobs")}::text, payload::text, run_epoch, attempts
  FROM {_JOBS} WHERE {JOBS.read("id", "jobs")} = %(job_id)s
"""

# The next statement after this one sees the row as it is, however long this one waited.
_LOCK = f"SELECT FROM {_JOBS} WHERE id = %(job_id)s {row_locks.in_statement()};"

# How this worker has already ended this run: it asks again when the connection broke before our answer.
_ENDED_BEFORE = """
    SELECT kind FROM job_events
     WHERE job_id = %(job_id)s AND run_epoch = %(epoch)s AND actor = %(actor)s
       AND kind IN ('completed', 'failed', 'retry_scheduled')
     ORDER BY id LIMIT 1"""

_SILENCE = f"""
    SELECT jsonb_build_object('longest_silence_seconds', round(
               {LONGEST_SILENCE.format(last="last_heartbeat")}::numeric, 1)) AS details
      FROM {HEARTBEATS.rows} AS beat
     WHERE worker_id = %(worker)s AND current_job_id = %(job_id)s AND current_run_epoch = %(epoch)s LIMIT 1"""

# The row names the worker only where the epoch is the same and the run goes on: then another worker holds it.
_LATE = f"""
    SELECT %(job_id)s, %(epoch)s, 'late_result_rejected', %(actor)s, %(error)s,
           jsonb_build_object('tried', %(tried)s::text, 'job', coalesce(
               (SELECT jsonb_build_object('status', {_STATUS}, 'epoch', run_epoch)
                       || CASE WHEN run_epoch = %(epoch)s AND {_STATUS} = 'in_progress'
                               THEN jsonb_build_object('worker', worker_id) ELSE '{{}}' END
                  FROM {_JOBS} WHERE id = %(job_id)s),
               '{{"status": null}}'))
           || CASE WHEN EXISTS (SELECT FROM {_JOBS} WHERE {_ID} = %(job_id)s AND run_epoch = %(epoch)s
                                                      AND NOT {fence.key_in_statement()})
                   THEN '{{"told_by": "another API key than the one that claimed the run"}}'::jsonb ELSE '{{}}' END
      FROM answer WHERE outcome = 'late'"""

# A run that the report should have ended, and whose row is as before: a trigger or a policy kept it. Nothing is written.
KEPT = "kept before"
_KEPT = f"WHEN EXISTS (SELECT FROM {_JOBS} WHERE {THIS_RUN}) THEN '{KEPT}' "

COMPLETE = f"""
{_LOCK}
WITH ended AS (
    UPDATE {JOBS.aliased}
       SET {
    JOBS.assignments(
        status=JOBS.status_written("completed"),
        completed_at=_NOW,
        updated_at=_NOW,
        error_message=JOBS.no_error,
    )
}
     WHERE {THIS_RUN}
    RETURNING {JOBS.returned("id")}
), answer AS (
    SELECT CASE WHEN EXISTS (SELECT FROM ended) THEN 'completed'
                WHEN ({_ENDED_BEFORE}) = 'completed' THEN 'before'
                {_KEPT}ELSE 'late' END AS outcome
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT %(job_id)s, %(epoch)s, outcome, %(actor)s, '',
           %(details)s::jsonb || coalesce(({_SILENCE}), '{{}}')
      FROM answer WHERE outcome = 'completed'
     UNION ALL {_LATE}
), {idle_beat("(SELECT outcome NOT LIKE '%%before' FROM answer)", ended=_ENDED)}
SELECT outcome FROM answer
"""

# It changes nothing, like a report that was counted before.
NO_WORD = "no word before"
# Where their table has no word for a failed job, such a run can't end: nothing is written.
_CAN_FAIL, _WITHOUT_WORD = (
    ("", _KEPT)
    if JOBS.written("failed")
    else ("false AND ", f"WHEN EXISTS (SELECT FROM {_JOBS} WHERE {THIS_RUN}) THEN '{NO_WORD}' ")
)

# The delays are those after the first, second, ... failure; later ones are as long as the last.
FAIL = f"""
{_LOCK}
WITH again AS (
    UPDATE {JOBS.sql} AS job
       SET {
    restart_in_statement(
        "job",
        attempts="job.attempts + 1",
        error_message="%(error)s",
        not_before="statement_timestamp() + make_interval(secs => "
        "(%(delays)s::float8[])[least(greatest(job.attempts, 0) + 1, cardinality(%(delays)s::float8[]))])",
    )
}
     WHERE {THIS_RUN} AND %(retryable)s AND attempts + 1 < %(max_attempts)s
    RETURNING {JOBS.returned("id")}, run_epoch, {JOBS.returned("queue")}, not_before
), for_good AS (
    UPDATE {JOBS.aliased}
       SET attempts = attempts + 1, {
    JOBS.assignments(status=JOBS.status_written("failed"), error_message="%(error)s", updated_at=_NOW)
}
     WHERE {_CAN_FAIL}{THIS_RUN} AND NOT (%(retryable)s AND attempts + 1 < %(max_attempts)s)
    RETURNING {JOBS.returned("id")}, {JOBS.returned("queue")}
), posted AS (
    INSERT INTO outbox (job_id, run_epoch, destination, dead_letter_id, queue, reason, retry, available_at)
    SELECT id, run_epoch, 'queue', NULL, queue, 'retry_after_failure', true, not_before FROM again
     UNION ALL
    SELECT id, %(epoch)s, 'dlq', gen_random_uuid(), queue, left(%(error)s, %(reason_length)s), true,
           statement_timestamp() FROM for_good
    ON CONFLICT (job_id, run_epoch, destination) DO NOTHING
), answer AS (
    SELECT CASE WHEN EXISTS (SELECT FROM again) THEN 'retry_scheduled'
                WHEN EXISTS (SELECT FROM for_good) THEN 'failed'
                WHEN ({_ENDED_BEFORE}) = 'retry_scheduled' THEN 'retry before'
                WHEN ({_ENDED_BEFORE}) = 'failed' THEN 'failed before'
                {_WITHOUT_WORD}ELSE 'late' END AS outcome
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT %(job_id)s, %(epoch)s, outcome, %(actor)s, %(error)s,
           coalesce(({_SILENCE}), '{{}}') || coalesce(
               (SELECT jsonb_build_object('next_epoch', run_epoch, 'delay_seconds', round(
                           extract(epoch FROM not_before - statement_timestamp()), 1)) FROM again),
               jsonb_build_object('retryable', %(retryable)s))
      FROM answer WHERE outcome IN ('retry_scheduled', 'failed')
     UNION ALL {_LATE}
), {idle_beat("(SELECT outcome NOT LIKE '%%before' FROM answer)", ended=_ENDED)}
SELECT outcome FROM answer
"""

# It locks nothing, so that a handler may note what it does while its own transaction holds the row.
# No row: the worker's id is another key's, and the timeline says nothing in its name. A note that a worker repeats, because it
# got no answer, is kept once: the advisory lock waits for a first try that the server still works on, and for nothing else.
NOTE = f"""
SELECT pg_advisory_xact_lock(hashtextextended(%(job_id)s::text || ' ' || %(once)s::text, %(epoch)s::bigint))
 WHERE %(once)s::text IS NOT NULL;
WITH before AS (
    SELECT details FROM job_events
     WHERE %(asked_before)s AND job_id = %(job_id)s AND run_epoch = %(epoch)s AND kind = 'progress' AND actor = %(actor)s
       AND details ->> 'once' = %(once)s::text
     LIMIT 1
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, details)
    SELECT %(job_id)s, %(epoch)s, 'progress', %(actor)s,
           jsonb_build_object('note', %(note)s::text, 'reference', %(reference)s::text,
                              'late', NOT EXISTS (SELECT FROM {_JOBS} WHERE {THIS_RUN}))
           || CASE WHEN %(once)s::text IS NULL THEN '{{}}' ELSE jsonb_build_object('once', %(once)s::text) END
     WHERE NOT {TAKEN} AND NOT EXISTS (SELECT FROM before)
    RETURNING details
)
SELECT NOT (details ->> 'late')::bool FROM (SELECT details FROM told UNION ALL SELECT details FROM before) AS note
"""

_CLAIMED_BY_IT = f"""{_ID} = %(job_id)s AND {_STATUS} = 'in_progress' AND worker_id::text = %(worker)s
       AND claimed_epoch = run_epoch AND {fence.key_in_statement()}"""

# The last statement tells of a run that should have been given back, and whose row is as before: a trigger or a policy kept it.
GIVE_BACK = f"""
WITH back AS (
    UPDATE {JOBS.sql} AS job SET {restart_in_statement("job")}
     WHERE {_CLAIMED_BY_IT}
    RETURNING {JOBS.returned("id")}, run_epoch, {JOBS.returned("queue")}
), posted AS (
    INSERT INTO outbox (job_id, run_epoch, destination, dead_letter_id, queue, reason, retry)
    SELECT id, run_epoch, 'queue', NULL, queue, 'given_back', true FROM back
    ON CONFLICT (job_id, run_epoch, destination) DO NOTHING
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason)
    SELECT id, run_epoch, 'requeued', %(actor)s, %(reason)s FROM back
)
SELECT id FROM back;

SELECT 1 FROM {_JOBS} WHERE {_CLAIMED_BY_IT}
"""

# It reads the job's row as it was before the transaction that locks it. If that ends the wait, the message is dropped.
PUT_OFF = f"""
INSERT INTO outbox AS letter (job_id, run_epoch, destination, dead_letter_id, queue, reason, retry, available_at)
SELECT id, run_epoch, 'queue', NULL, queue, %(reason)s, true, statement_timestamp() + %(delay)s
  FROM {_JOBS}
 WHERE id = %(job_id)s AND {_STATUS} = 'pending' AND run_epoch = coalesce(%(epoch)s, run_epoch)
    ON CONFLICT (job_id, run_epoch, destination) DO UPDATE
   SET state = 'waiting', available_at = excluded.available_at, attempts = 0, last_error = ''
RETURNING letter.id
"""

# Of a run whose claims are refused again and again, not every one is told: workers may ask often.
NOTE_REFUSED = f"""
WITH run AS (
    SELECT job.id, job.run_epoch, count(event.id) AS times, min(event.at) AS first, max(event.at) AS last
      FROM {JOBS.rows} AS job
      LEFT JOIN job_events AS event ON event.job_id = job.id AND event.run_epoch = job.run_epoch
                                   AND event.kind = 'claim_refused'
     WHERE job.id = %(job_id)s AND {JOBS.our_status("job")} = 'pending' AND job.run_epoch = coalesce(%(epoch)s, job.run_epoch)
     GROUP BY job.id, job.run_epoch
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT id, run_epoch, 'claim_refused', %(actor)s, %(sentence)s, jsonb_build_object('rule', %(rule)s::text)
      FROM run WHERE last IS NULL OR last < statement_timestamp() - interval '20 seconds'
)
SELECT times, statement_timestamp() - coalesce(first, statement_timestamp()) FROM run
"""

# Whether an operator paused the work on a queue, as ``opsconsole.kit.pauses`` decides it.
PAUSED = """
SELECT began_by, reason FROM pauses
 WHERE name = 'queue:' || %(queue)s AND ended_at IS NULL AND (until IS NULL OR until > statement_timestamp()) LIMIT 1
"""
