"""The SQL of heartbeats, of idle workers and of verdicts, each for one round trip (``opsconsole_worker.database.door``).

``opsconsole_worker.runs.statements`` has that of claims, notes and ends, which write the worker's row, too.
"""
# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from opsconsole_worker.runs import earlier_beats, fence
from opsconsole_worker.runs.tables import HEARTBEATS, JOBS
from opsconsole_worker.runs.worker_ids import FREE, TAKEN

_ID, _STATUS = JOBS.sql_column("id"), JOBS.our_status()
_JOBS = JOBS.aliased_rows
_WORKER, _BEAT_JOB = HEARTBEATS.sql_column("worker_id"), HEARTBEATS.sql_column("current_job_id")
_IS_WORKER = f"{HEARTBEATS.read('worker_id')} = %(worker)s"
# Ids of workers that are numbers may be GENERATED ALWAYS.
_OVERRIDING = " OVERRIDING SYSTEM VALUE" if HEARTBEATS.reads_otherwise else ""
_LAST_HEARTBEAT = HEARTBEATS.sql_column("last_heartbeat")
_BEATS_NOW = HEARTBEATS.to_write("last_heartbeat", HEARTBEATS.now("last_heartbeat"))

# The longest silence of the run in seconds, including the current one. GREATEST ignores nulls.
LONGEST_SILENCE = """greatest((metadata ->> 'longest_silence')::float8,
                      extract(epoch FROM statement_timestamp() - {last})::float8)"""

# Whose the id is, see ``opsconsole_worker.runs.worker_ids``.
_KEY = "jsonb_build_object('key', %(key)s::text)"
# Which process sends the heartbeats, so that two under one id are noticed.
_PROCESS = "hostname = coalesce(%(hostname)s, hostname), pid = coalesce(%(pid)s, pid)"
_SAME_PROCESS = """hostname IS NOT DISTINCT FROM coalesce(%(hostname)s, hostname)
   AND pid IS NOT DISTINCT FROM coalesce(%(pid)s, pid)"""


def run_beat(run: str) -> str:
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
                    THEN {LONGEST_SILENCE.format(last=HEARTBEATS.read("last_heartbeat", "worker_heartbeats"))} ELSE 0.0 END)
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
    RETURNING {_WORKER}
)"""


def idle_beat(
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
    RETURNING {_WORKER}
)"""


THIS_RUN = f"""
       {_ID} = %(job_id)s AND {_STATUS} = 'in_progress' AND run_epoch = %(epoch)s AND {fence.in_statement()}
"""
_OF_RUN = f"""
  FROM (SELECT) AS asked LEFT JOIN {_JOBS} ON {_ID} = %(job_id)s AND run_epoch = %(epoch)s
"""
_VERDICT = f"SELECT {_STATUS}, {fence.in_statement()}, {TAKEN}"
VERDICT = f"{_VERDICT}{_OF_RUN}"

# Whether the worker's row was written: a trigger or a policy of theirs may keep it.
_WRITTEN = "EXISTS (SELECT FROM beat) OR EXISTS (SELECT FROM first_beat)"
IDLE_BEAT = f"WITH {idle_beat()} SELECT {TAKEN}, {_WRITTEN} AS written"
# The heartbeat of a worker that the row does not name leaves the epoch out: it must not keep another worker's run alive.
BEAT = f"""
WITH run AS (
    SELECT %(job_id)s AS id,
           CASE WHEN NOT EXISTS (SELECT FROM {_JOBS}
                                  WHERE id = %(job_id)s AND run_epoch = %(epoch)s AND NOT {fence.in_statement()})
                THEN %(epoch)s::int END AS run_epoch
), {run_beat("run")}
{_VERDICT}, {_WRITTEN} AS written{_OF_RUN}"""

# What BEAT does where the same process reports again about a run that goes on, which is nearly always. It takes PostgreSQL a
# fraction of the time to plan. No row: something is otherwise, and BEAT finds out what. Its commit does not wait for the disk:
# a server that crashes loses those of less than a second, and the next ones follow an interval later.
USUAL_BEAT = f"""
UPDATE {HEARTBEATS.aliased}
   SET {_LAST_HEARTBEAT} = {_BEATS_NOW},
       metadata = metadata || jsonb_build_object('longest_silence',
           {LONGEST_SILENCE.format(last=HEARTBEATS.read("last_heartbeat", "worker_heartbeats"))})
       || {earlier_beats.FIRST_IN_STATEMENT}
 WHERE {HEARTBEATS.read("worker_id", "worker_heartbeats")} = %(worker)s
   AND {_BEAT_JOB} = %(job_id)s AND current_run_epoch = %(epoch)s
   AND metadata ->> 'key' = %(key)s AND {_SAME_PROCESS} AND {earlier_beats.IS_OURS}
   AND EXISTS (SELECT FROM {_JOBS} WHERE jobs.id = %(job_id)s AND jobs.run_epoch = %(epoch)s
                  AND {JOBS.our_status("jobs")} = 'in_progress' AND {fence.in_statement()})
RETURNING set_config('synchronous_commit', 'off', true)
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
