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

from opsconsole_worker.runs.earlier_beats import EARLIER, IS_NOTED, RUN

# Anything else is not a time that a heartbeat noted.
_LATEST = 4_000_000_000
_WANTED = RUN.format(job="{of_job}", epoch="{of_epoch}")

# The last heartbeat of the processes that named a run. A migration repeats this for ``find_stale_jobs``.
_LAST_OF_PROCESSES = f"""(CASE WHEN {IS_NOTED} THEN (
    SELECT to_timestamp(max(last)::float8)
      FROM (SELECT process, max(at) AS last, max(at) FILTER (WHERE run = {_WANTED}) AS named
              FROM (SELECT beat ->> 'process' AS process, beat ->> 'run' AS run,
                           CASE jsonb_typeof(beat -> 'at') WHEN 'number' THEN (beat ->> 'at')::numeric END AS at
                      FROM {EARLIER}
                     UNION ALL
                    SELECT {{metadata}} ->> 'process', {RUN}, extract(epoch FROM {{beat}})) AS beats
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
