"""Heartbeats that later ones of the same worker id overwrote: which process sent them, and for which run.

A row of ``worker_heartbeats`` holds the last heartbeat of its id. By that alone, a process that was restarted under its
old id looks like two replicas that share the id, or like a pool of jobs with one row. So each heartbeat keeps what it
overwrites in the metadata of the row: the last heartbeat per process and run. A run has lost its worker when every
process that ever named it is silent. A pool stays one process, and a replica that is alive sends heartbeats.

This proves nothing unless every heartbeat since then was kept: ``unnoted_at`` is when one last came that was not written
in this way, or that named no process. Numbers are seconds since 1970, by the database's clock.
"""

# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, F, Func
from django.db.models.expressions import Combinable
from django.db.models.sql.compiler import SQLCompiler

from jobs.models.columns import HEARTBEATS, JOBS

# Of the heartbeats of one id, the latest ones are kept. A run of which none is left is unknown again.
MOST_KEPT = 50
# Anything else is not a time that this module wrote.
_LATEST = 4_000_000_000

_BEAT = HEARTBEATS.read("last_heartbeat", "worker_heartbeats")
_NOW = f"extract(epoch FROM {HEARTBEATS.now('last_heartbeat')})"
_EARLIER = (
    "jsonb_array_elements(CASE jsonb_typeof({metadata} -> 'earlier_beats') WHEN 'array'"
    " THEN {metadata} -> 'earlier_beats' ELSE '[]' END) AS beat"
)
_IS_NOTED = "coalesce({metadata} -> 'noted_at' = to_jsonb(extract(epoch FROM {beat})), false)"
_RUN = "{job}::text || ' ' || {epoch}"
_WANTED = _RUN.format(job="{of_job}", epoch="{of_epoch}")
# Of the row that is written, whose name no column of a nested query takes.
_JOB = HEARTBEATS.sql_column("current_job_id", "worker_heartbeats")
_LAST_RUN = _RUN.format(job=_JOB, epoch="current_run_epoch")

# The last heartbeat of the processes that named a run. A migration repeats this for ``find_stale_jobs``.
_LAST_OF_PROCESSES = f"""(CASE WHEN {_IS_NOTED} THEN (
    SELECT to_timestamp(max(last)::float8)
      FROM (SELECT process, max(at) AS last, max(at) FILTER (WHERE run = {_WANTED}) AS named
              FROM (SELECT beat ->> 'process' AS process, beat ->> 'run' AS run,
                           CASE jsonb_typeof(beat -> 'at') WHEN 'number' THEN (beat ->> 'at')::numeric END AS at
                      FROM {_EARLIER}
                     UNION ALL
                    SELECT {{metadata}} ->> 'process', {_RUN}, extract(epoch FROM {{beat}})) AS beats
             WHERE at BETWEEN 0 AND {_LATEST}
             GROUP BY process) AS processes
     WHERE named IS NOT NULL
    HAVING bool_and(process <> '') AND max(named) > coalesce(
               CASE jsonb_typeof({{metadata}} -> 'unnoted_at') WHEN 'number'
                    THEN ({{metadata}} ->> 'unnoted_at')::numeric END, 0)) END)"""


class LastOfProcesses(Func):
    """When a process of this worker that ever named the run last sent a heartbeat, for any run. Null: not known.

    For rows of ``worker_heartbeats``. Without parameters.
    """

    output_field = DateTimeField()

    def __init__(self, job_id: UUID | Combinable, run_epoch: int | Combinable) -> None:
        row = [F(name) for name in ("metadata", "last_heartbeat", "current_job_id", "current_run_epoch")]
        super().__init__(*row, job_id, run_epoch)

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: object, **__: object
    ) -> tuple[str, tuple[str | int, ...]]:
        names = ("metadata", "beat", "job", "epoch", "of_job", "of_epoch")
        columns = [compiler.compile(expression)[0] for expression in self.get_source_expressions()]
        return _LAST_OF_PROCESSES.format(**dict(zip(names, columns, strict=True))), ()


# In a new row nothing was overwritten.
FIRST_IN_STATEMENT = f"jsonb_build_object('process', %(process)s::text, 'noted_at', {_NOW})"


def note_in_statement(job: str, epoch: str) -> str:
    """Return, as SQL, what a heartbeat adds to the metadata of its row: its process, and the heartbeat that it overwrites.

    That of the same process is kept where it named another run than this, and that run goes on.
    """
    noted = _IS_NOTED.format(metadata="metadata", beat=_BEAT)
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
                                               SELECT beat FROM {_EARLIER.format(metadata="metadata")}
                                                WHERE (beat -> 'process', beat -> 'run')
                                                      IS DISTINCT FROM (last -> 'process', last -> 'run')) AS beats
                                        ORDER BY beat -> 'at' DESC NULLS LAST LIMIT {MOST_KEPT}) AS kept))
                   ELSE '{{}}' END"""
