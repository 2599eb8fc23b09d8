"""The SQL of what workers report, each for one round trip (``opsconsole_worker.database.door``).

A host that disappears in the middle leaves no transaction open. docs/workers.md has the same statements for workers in
other languages; tests/jobs/worker/test_documented_sql.py holds the two together.
"""
# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from opsconsole_worker.bounded_values import cut_in_statement
from opsconsole_worker.database import row_locks
from opsconsole_worker.database.finite_times import finite_in_statement
from opsconsole_worker.runs import earlier_beats, fence
from opsconsole_worker.runs.restart import new_deadline_in_statement, restart_in_statement
from opsconsole_worker.runs.tables import HEARTBEATS, JOBS
from opsconsole_worker.runs.worker_ids import FREE, TAKEN

_ID, _STATUS = JOBS.sql_column("id"), JOBS.our_status()
_JOBS = JOBS.aliased_rows
_WORKER, _BEAT_JOB = HEARTBEATS.sql_column("worker_id"), HEARTBEATS.sql_column("current_job_id")
_IS_WORKER = f"{HEARTBEATS.read('worker_id')} = %(worker)s"
# Ids of workers that are numbers may be GENERATED ALWAYS.
_OVERRIDING = " OVERRIDING SYSTEM VALUE" if HEARTBEATS.reads_otherwise else ""
_LAST_HEARTBEAT = HEARTBEATS.sql_column("last_heartbeat")
_NOW = "statement_timestamp()"
_BEATS_NOW = HEARTBEATS.to_write("last_heartbeat", HEARTBEATS.now("last_heartbeat"))

# The longest silence of the run in seconds, including the current one. GREATEST ignores nulls.
_LONGEST_SILENCE = """greatest((metadata ->> 'longest_silence')::float8,
                      extract(epoch FROM statement_timestamp() - {last})::float8)"""

# Whose the id is, see ``opsconsole_worker.runs.worker_ids``.
_KEY = "jsonb_build_object('key', %(key)s::text)"
# Which process sends the heartbeats, so that two under one id are noticed.
_PROCESS = "hostname = coalesce(%(hostname)s, hostname), pid = coalesce(%(pid)s, pid)"
_SAME_PROCESS = """hostname IS NOT DISTINCT FROM coalesce(%(hostname)s, hostname)
   AND pid IS NOT DISTINCT FROM coalesce(%(pid)s, pid)"""


def _beat(run: str) -> str:
    """Return the parts of a WITH clause that write the worker's row for each row of ``run`` (id, run_epoch).

    They update first and insert only when the row is absent: an existing table may have no unique key on ``worker_id``.
    """
    return f"""
beat AS (
    UPDATE {HEARTBEATS.aliased}
       SET {_BEAT_JOB} = run.id, current_run_epoch = run.run_epoch, {_LAST_HEARTBEAT} = {_BEATS_NOW},
           {_PROCESS},
           metadata = metadata || jsonb_build_object('longest_silence',
               CASE WHEN {_BEAT_JOB} = run.id AND current_run_epoch = run.run_epoch
                    THEN {_LONGEST_SILENCE.format(last=HEARTBEATS.read("last_heartbeat", "worker_heartbeats"))} ELSE 0.0 END)
           || {earlier_beats.note_in_statement("run.id", "run.run_epoch")}
           || {_KEY}
      FROM {run} AS run WHERE {HEARTBEATS.read("worker_id", "worker_heartbeats")} = %(worker)s AND {FREE}
    RETURNING {HEARTBEATS.returned("worker_id", "worker_heartbeats")}
), first_beat AS (
    INSERT INTO {HEARTBEATS.sql} ({_WORKER}, {_BEAT_JOB}, current_run_epoch, {_LAST_HEARTBEAT},
                                   started_at, hostname, pid, metadata){_OVERRIDING}
    SELECT %(worker)s, id, run_epoch, {_BEATS_NOW},
           least(statement_timestamp(), (SELECT started_at FROM {_JOBS} WHERE jobs.id = run.id AND jobs.run_epoch = run.run_epoch)),
           %(hostname)s, %(pid)s, %(protocol)s::jsonb || {earlier_beats.FIRST_IN_STATEMENT}
      FROM {run} AS run WHERE NOT EXISTS (SELECT FROM beat) AND NOT {TAKEN}
    ON CONFLICT DO NOTHING
)"""


def _idle_beat(
    condition: str = "true", *, ended: tuple[str, str] = (f"NULL::{JOBS.id_type}", "NULL::int")
) -> str:
    """Return the parts of a WITH clause that write the row of a worker that runs nothing, under a condition.

    ``ended``: the job and the epoch of the run that this statement ends.
    """
    return f"""
beat AS (
    UPDATE {HEARTBEATS.aliased}
       SET {_BEAT_JOB} = NULL, current_run_epoch = NULL, {_LAST_HEARTBEAT} = {_BEATS_NOW}, {_PROCESS},
           metadata = metadata || {earlier_beats.note_in_statement(*ended)} || {_KEY}
     WHERE {_IS_WORKER} AND {FREE} AND {condition}
    RETURNING {_WORKER}
), first_beat AS (
    INSERT INTO {HEARTBEATS.sql} ({_WORKER}, {_LAST_HEARTBEAT}, started_at, hostname, pid, metadata){_OVERRIDING}
    SELECT %(worker)s, {_BEATS_NOW}, statement_timestamp(), %(hostname)s, %(pid)s,
           %(protocol)s::jsonb || {earlier_beats.FIRST_IN_STATEMENT}
     WHERE NOT EXISTS (SELECT FROM beat) AND NOT {TAKEN} AND {condition}
    ON CONFLICT DO NOTHING
)"""


_ENDED = ("%(job_id)s", "%(epoch)s")
THIS_RUN = f"""
       {_ID} = %(job_id)s AND {_STATUS} = 'in_progress' AND run_epoch = %(epoch)s AND {fence.in_statement()}
"""
VERDICT = f"""
SELECT {_STATUS}, {fence.in_statement()}, {TAKEN}
  FROM (SELECT) AS asked LEFT JOIN {_JOBS} ON {_ID} = %(job_id)s AND run_epoch = %(epoch)s
"""

IDLE_BEAT = f"WITH {_idle_beat()} SELECT {TAKEN}"
# The heartbeat of a worker that the row does not name leaves the epoch out: it must not keep another worker's run alive.
BEAT = f"""
WITH run AS (
    SELECT %(job_id)s AS id,
           CASE WHEN NOT EXISTS (SELECT FROM {_JOBS}
                                  WHERE id = %(job_id)s AND run_epoch = %(epoch)s AND NOT {fence.in_statement()})
                THEN %(epoch)s::int END AS run_epoch
), {_beat("run")}
{VERDICT}
"""

# What BEAT does where the same process reports again about a run that goes on, which is nearly always. It takes PostgreSQL a
# fraction of the time to plan. No row: something is otherwise, and BEAT finds out what. Its commit does not wait for the disk:
# a server that crashes loses those of less than a second, and the next ones follow an interval later.
USUAL_BEAT = f"""
UPDATE {HEARTBEATS.aliased}
   SET {_LAST_HEARTBEAT} = {_BEATS_NOW},
       metadata = metadata || jsonb_build_object('longest_silence',
           {_LONGEST_SILENCE.format(last=HEARTBEATS.read("last_heartbeat", "worker_heartbeats"))})
       || {earlier_beats.FIRST_IN_STATEMENT}
 WHERE {HEARTBEATS.read("worker_id", "worker_heartbeats")} = %(worker)s
   AND {_BEAT_JOB} = %(job_id)s AND current_run_epoch = %(epoch)s
   AND metadata ->> 'key' = %(key)s AND {_SAME_PROCESS} AND {earlier_beats.IS_OURS}
   AND EXISTS (SELECT FROM {_JOBS} WHERE jobs.id = %(job_id)s AND jobs.run_epoch = %(epoch)s
                  AND {JOBS.our_status("jobs")} = 'in_progress' AND {fence.in_statement()})
RETURNING set_config('synchronous_commit', 'off', true)
"""

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
), {_beat("won")}
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
               {_LONGEST_SILENCE.format(last="last_heartbeat")}::numeric, 1)) AS details
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
                ELSE 'late' END AS outcome
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT %(job_id)s, %(epoch)s, outcome, %(actor)s, '',
           %(details)s::jsonb || coalesce(({_SILENCE}), '{{}}')
      FROM answer WHERE outcome = 'completed'
     UNION ALL {_LATE}
), {_idle_beat("(SELECT outcome <> 'before' FROM answer)", ended=_ENDED)}
SELECT outcome FROM answer
"""

# It changes nothing, like a report that was counted before.
NO_WORD = "no word before"
# Where their table has no word for a failed job, such a run can't end: nothing is written.
_CAN_FAIL, _WITHOUT_WORD = (
    ("", "")
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
), {_idle_beat("(SELECT outcome NOT LIKE '%%before' FROM answer)", ended=_ENDED)}
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

GIVE_BACK = f"""
WITH back AS (
    UPDATE {JOBS.sql} AS job SET {restart_in_statement("job")}
     WHERE {_ID} = %(job_id)s AND {_STATUS} = 'in_progress' AND worker_id::text = %(worker)s
       AND claimed_epoch = run_epoch AND {fence.key_in_statement()}
    RETURNING {JOBS.returned("id")}, run_epoch, {JOBS.returned("queue")}
), posted AS (
    INSERT INTO outbox (job_id, run_epoch, destination, dead_letter_id, queue, reason, retry)
    SELECT id, run_epoch, 'queue', NULL, queue, 'given_back', true FROM back
    ON CONFLICT (job_id, run_epoch, destination) DO NOTHING
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason)
    SELECT id, run_epoch, 'requeued', %(actor)s, %(reason)s FROM back
)
SELECT id FROM back
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

# A mapped table may be where somebody registers workers: such a row stays.
_MADE_BY_US = " AND metadata ? 'protocol'" if HEARTBEATS.differs and not HEARTBEATS.absent else ""
LEAVE = f"""
WITH gone AS (DELETE FROM {HEARTBEATS.aliased} WHERE {_IS_WORKER} AND {FREE}{_MADE_BY_US})
SELECT {TAKEN}
"""

NOTE_AHEAD = f"""
UPDATE {HEARTBEATS.sql}
   SET metadata = metadata || jsonb_build_object('epoch_ahead', jsonb_build_object('job_id', %(job_id)s, 'epoch', %(epoch)s))
 WHERE {_IS_WORKER}
"""

COUNT_GIVEN_BACK = f"""
UPDATE {HEARTBEATS.sql}
   SET metadata = metadata || jsonb_build_object('messages_given_back_locked', %(locked)s::int,
                                                 'messages_given_back_refused', %(refused)s::int)
 WHERE {_IS_WORKER}
"""

# Whether an operator paused the work on a queue, as ``opsconsole.kit.pauses`` decides it.
PAUSED = """
SELECT began_by, reason FROM pauses
 WHERE name = 'queue:' || %(queue)s AND ended_at IS NULL AND (until IS NULL OR until > statement_timestamp()) LIMIT 1
"""
