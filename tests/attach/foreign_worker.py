"""A worker that has never heard of the console: it claims a job by plain SQL, and beats as its kind does until it ends.

``python -m tests.attach.foreign_worker NAME URL`` runs one for a piece of the gallery, of which it uses the names, words and
times that its mapping declares. It writes the id of its job once it has claimed one and beaten for it.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import psycopg

from opsconsole.kit import mapping
from opsconsole.kit.mapping import Jobs, Mapping, Table
from tests.attach.pieces import Piece, piece_of

BEAT_SECONDS = 0.05
WORKER = "foreign-1"
NUMBERS = {"bigint", "integer"}
NOW = {
    "": "clock_timestamp()",
    mapping.WITHOUT_ZONE: "clock_timestamp() AT TIME ZONE 'UTC'",
    mapping.EPOCH_SECONDS: "extract(epoch FROM clock_timestamp())::bigint",
    mapping.EPOCH_MILLISECONDS: "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
}


def main(name: str, url: str) -> None:
    piece = piece_of(name)
    with psycopg.connect(url, autocommit=True) as connection:
        worker = worker_id(connection, piece.mapping().worker_heartbeats)
        job_id = claim(connection, piece.mapping(), worker)
        beat(connection, piece, job_id, worker)
        sys.stdout.write(f"{job_id}\n")
        sys.stdout.flush()
        while True:
            beat(connection, piece, job_id, worker)
            time.sleep(BEAT_SECONDS)


def worker_id(connection: psycopg.Connection[Any], table: Table) -> str:
    """Return the id of this worker; where ids are numbers, that of a row that is there already."""
    if table.absent or column_type(connection, table.sql, table.column("worker_id")) not in NUMBERS:
        return WORKER
    row = connection.execute(f"SELECT min({table.sql_column('worker_id')})::text FROM {table.sql}").fetchone()
    assert row
    return str(row[0])


def claim(connection: psycopg.Connection[Any], mapped: Mapping, worker: str) -> object:
    """Claim the oldest waiting job, in their words."""
    jobs = mapped.jobs
    job_id, created_at = jobs.sql_column("id"), jobs.sql_column("created_at")
    changes = {
        jobs.sql_column(name): now(jobs, name) for name in ("started_at", "updated_at") if jobs.has(name)
    }
    if jobs.life.column:
        changes[mapping.quoted(jobs.life.column)] = _life_now(connection, jobs)
    if jobs.life.worker:
        changes[mapping.quoted(jobs.life.worker)] = f"'{worker}'"
    sets = "".join(f", {column} = {value}" for column, value in changes.items())
    row = connection.execute(
        f"UPDATE {jobs.sql} SET {jobs.sql_column('status')} = '{jobs.written(mapping.IN_PROGRESS)}'{sets}"
        f" WHERE {job_id} = (SELECT {job_id} FROM {jobs.sql} WHERE {jobs.is_status(mapping.PENDING)}"
        f" ORDER BY {created_at} LIMIT 1) AND {jobs.is_status(mapping.PENDING)} RETURNING {job_id}"
    ).fetchone()
    assert row, "no job waits"
    return row[0]


def beat(connection: psycopg.Connection[Any], piece: Piece, job_id: object, worker: str) -> None:
    """Tell that the run is alive, as this kind of worker does; those beside SQS tell nobody."""
    mapped = piece.mapping()
    told_by = mapped.jobs.life.told_by
    if told_by in {"beats", "worker_beats"}:
        anew = piece.declared.get("beats") == "rows"
        _beat_in_table(connection, mapped.worker_heartbeats, job_id, worker, anew=anew)
    elif told_by in {"job_column", "updated_at"}:
        jobs = mapped.jobs
        column = mapping.quoted(jobs.life.column or jobs.column("updated_at"))
        connection.execute(
            f"UPDATE {jobs.sql} SET {column} = {_life_now(connection, jobs)} WHERE {jobs.sql_column('id')} = %s",
            [job_id],
        )


def _beat_in_table(
    connection: psycopg.Connection[Any], table: Table, job_id: object, worker: str, *, anew: bool
) -> None:
    named, at = table.sql_column("worker_id"), table.sql_column("last_heartbeat")
    values = {at: now(table, "last_heartbeat")}
    if table.has("current_job_id"):
        values[table.sql_column("current_job_id")] = "%(job)s"
    given = {"worker": worker, "job": job_id}
    sets = ", ".join(f"{column} = {value}" for column, value in values.items())
    if (
        not anew
        and connection.execute(f"UPDATE {table.sql} SET {sets} WHERE {named} = %(worker)s", given).rowcount
    ):
        return
    connection.execute(
        f"INSERT INTO {table.sql} ({named}, {', '.join(values)}) VALUES (%(worker)s, {', '.join(values.values())})",
        given,
    )


def now(table: Table, column: str) -> str:
    """Return the present time as this column holds it, as SQL."""
    return NOW[table.times[column].kind if column in table.times else ""]


def _life_now(connection: psycopg.Connection[Any], jobs: Jobs) -> str:
    """Return the same for the column that tells of life, which is no column of the contract."""
    if jobs.life.column is None:
        return now(jobs, "updated_at")
    kinds = {"timestamp with time zone": "", "bigint": mapping.EPOCH_MILLISECONDS}
    kind = column_type(connection, jobs.sql, jobs.life.column)
    return NOW[kinds.get(kind, mapping.WITHOUT_ZONE)]


def column_type(connection: psycopg.Connection[Any], table: str, column: str) -> str:
    """Return the type of a column, without its length."""
    row = connection.execute(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
        [table, column],
    ).fetchone()
    assert row
    return str(row[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
