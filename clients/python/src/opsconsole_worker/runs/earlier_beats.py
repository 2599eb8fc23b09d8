"""What a heartbeat notes about the one that it overwrites, so that a restart under the same id is known.

``jobs.models.earlier_beats`` reads it and says what it proves.
"""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from opsconsole_worker.runs.tables import HEARTBEATS, JOBS

# Of the heartbeats of one id, the latest ones are kept. A run of which none is left is unknown again.
MOST_KEPT = 50

_BEAT = HEARTBEATS.read("last_heartbeat", "worker_heartbeats")
_NOW = f"extract(epoch FROM {HEARTBEATS.now('last_heartbeat')})"
EARLIER = (
    "jsonb_array_elements(CASE jsonb_typeof({metadata} -> 'earlier_beats') WHEN 'array'"
    " THEN {metadata} -> 'earlier_beats' ELSE '[]' END) AS beat"
)
IS_NOTED = "coalesce({metadata} -> 'noted_at' = to_jsonb(extract(epoch FROM {beat})), false)"
RUN = "{job}::text || ' ' || {epoch}"
# Of the row that is written, whose name no column of a nested query takes.
_JOB = HEARTBEATS.sql_column("current_job_id", "worker_heartbeats")
_LAST_RUN = RUN.format(job=_JOB, epoch="current_run_epoch")

# In a new row nothing was overwritten.
FIRST_IN_STATEMENT = f"jsonb_build_object('process', %(process)s::text, 'noted_at', {_NOW})"

# The row was written by this process, and it overwrites nothing that must be kept.
IS_OURS = f"""%(process)s <> '' AND metadata ->> 'process' = %(process)s
           AND {IS_NOTED.format(metadata="metadata", beat=_BEAT)}"""


def note_in_statement(job: str, epoch: str) -> str:
    """Return, as SQL, what a heartbeat adds to the metadata of its row: its process, and the heartbeat that it overwrites.

    That of the same process is kept where it named another run than this, and that run goes on.
    """
    noted = IS_NOTED.format(metadata="metadata", beat=_BEAT)
    goes_on = (
        f"EXISTS (SELECT FROM {JOBS.aliased_rows} WHERE jobs.id = {_JOB} AND jobs.run_epoch = current_run_epoch"
        f" AND {JOBS.our_status('jobs')} = 'in_progress')"
    )
    other_run = f"({_JOB}, current_run_epoch) IS DISTINCT FROM ({job}, {epoch}) AND {goes_on}"
    return f"""{FIRST_IN_STATEMENT}
           || CASE WHEN %(process)s = '' OR NOT {noted} THEN jsonb_build_object('unnoted_at', {_NOW}) ELSE '{{}}' END
           || CASE WHEN {noted} AND (metadata ->> 'process' <> %(process)s OR {other_run})
                   THEN jsonb_build_object('earlier_beats', (
                       SELECT jsonb_agg(beat)
                         FROM (SELECT jsonb_build_object(
                                          'process', metadata -> 'process', 'at', metadata -> 'noted_at',
                                          'run', CASE WHEN {goes_on} THEN {_LAST_RUN} END
                                      ) AS last) AS overwritten,
                              LATERAL (SELECT beat
                                         FROM (SELECT last AS beat
                                                UNION ALL
                                               SELECT beat FROM {EARLIER.format(metadata="metadata")}
                                                WHERE (beat -> 'process', beat -> 'run')
                                                      IS DISTINCT FROM (last -> 'process', last -> 'run')) AS beats
                                        ORDER BY beat -> 'at' DESC NULLS LAST LIMIT {MOST_KEPT}) AS kept))
                   ELSE '{{}}' END"""
