"""The data of a console that grows: the same work in hand at every size, and more and more jobs that have ended.

A job every five seconds. The newest 5,000 wait or run; of the others, 2 % failed or were quarantined, 0.5 % were cancelled and
the rest completed, of 5,000 customers. The timeline has three events per job for as long as it is kept, the outbox a message
per job for as long as those are kept, and the audit a line per ten jobs.
"""

from __future__ import annotations

import psycopg

from bench import growth_figures
from bench.finding import without_indexes
from bench.pages_data import APART, jobs_sql

LIVE = 5_000
STALE = 100
# The number of the first stale run, which is older than the threshold, and of the last.
STALE_FROM = 1_002
STALE_TO = STALE_FROM + 2 * STALE - 2
SECONDS_APART = 5
DAY = 86_400 // SECONDS_APART
# The newest jobs of which the timeline and the outbox still have rows, with the defaults of retention.
IN_TIMELINE, IN_OUTBOX = 396 * DAY, 7 * DAY
SWEEPS = 30 * 720
# Rows per statement, so that progress is seen and memory stays bounded.
BATCH = 2_000_000

EVENTS = f"""
INSERT INTO job_events (job_id, at, kind, run_epoch, actor)
SELECT md5('job ' || n)::uuid, now() - n * {APART} + k * interval '1 second',
       CASE WHEN k < 2 THEN (ARRAY['enqueued', 'claimed'])[k + 1] WHEN n % 100 = 7 THEN 'failed' ELSE 'completed' END,
       1, 'worker:worker-' || n % 300
  FROM generate_series({{end}}, {{begin}}, -1) AS n, generate_series(0, 2) AS k
 WHERE k = 0 OR n > {LIVE}"""
MESSAGES = f"""
INSERT INTO outbox (job_id, run_epoch, state, sent_at, created_at, message_id)
SELECT md5('job ' || n)::uuid, 1, 'sent', now() - n * {APART}, now() - n * {APART}, 'message-' || n
  FROM generate_series({{end}}, {{begin}}, -1) AS n"""
AUDIT = f"""
INSERT INTO django_admin_log (action_time, user_id, content_type_id, object_id, object_repr, action_flag, change_message)
SELECT now() - n * {APART}, (SELECT min(id) FROM auth_user),
       (SELECT id FROM django_content_type WHERE app_label = 'jobs' AND model = 'job'), md5('job ' || n)::uuid,
       'job', 2, E'Requeued.\\nWhy: the customer called' FROM generate_series({{end}}, {{begin}}, -1) AS n WHERE n % 10 = 0"""
# A worker per run: as many rows as runs, at every size.
WORKERS = f"""
UPDATE jobs SET worker_id = 'worker-' || n FROM generate_series(2, {LIVE}, 2) AS n WHERE id = md5('job ' || n)::uuid;
INSERT INTO worker_heartbeats (worker_id, current_job_id, current_run_epoch, last_heartbeat, hostname, pid, metadata)
SELECT 'worker-' || n, md5('job ' || n)::uuid, 1, now(), 'host-' || n % 9, n, '{{"protocol": 1}}'
  FROM generate_series(2, {LIVE}, 2) AS n"""
ONCE = (
    WORKERS,
    f"""INSERT INTO sweeps (trigger, mode, started_at, finished_at, found, requeued)
        SELECT 'schedule', 'armed', now() - n * interval '2 minutes', now() - n * interval '2 minutes', n % 3, n % 3
          FROM generate_series({SWEEPS}, 0, -1) AS n""",
    """INSERT INTO dead_letter_queues (url, queues, visible, in_flight, delayed, retention_seconds, read_at, checked_at)
       VALUES ('https://sqs.us-east-1.amazonaws.com/000000000000/bench-dlq', '["default"]', 0, 0, 0, 345600, now(), now())""",
    """INSERT INTO failure_groups (fingerprint, kind, title)
       SELECT 'group ' || n, 'job_error', 'DirectoryError: directory ' || n || ' did not answer'
         FROM generate_series(1, 20) AS n""",
)
BEAT = f"""
UPDATE worker_heartbeats SET last_heartbeat =
       CASE WHEN pid BETWEEN {STALE_FROM} AND {STALE_TO} THEN now() - interval '20 minutes' ELSE now() END;
INSERT INTO sweeps (trigger, mode, started_at, finished_at, found, requeued) VALUES ('schedule', 'armed', now(), now(), 0, 0)"""
# The runs that a sweep recovered run again, as at the beginning.
AGAIN = f"""
DELETE FROM outbox WHERE run_epoch > 1;
UPDATE jobs SET status = 'in_progress', run_epoch = 1, claimed_epoch = 1, recovery_count = 0, error_message = NULL,
                worker_id = 'worker-' || n, started_at = now() - n * {APART}, updated_at = now() - n * {APART}
  FROM generate_series({STALE_FROM}, {STALE_TO}, 2) AS n
 WHERE id = md5('job ' || n)::uuid AND (status <> 'in_progress' OR run_epoch <> 1)"""


def begin(url: str, most: int) -> None:
    """Create what every size has. ``most``: the jobs of the largest size."""
    with _connected(url) as connection:
        months = min(most, IN_TIMELINE) // (28 * DAY) + 2
        for back in range(months):
            connection.execute(_partition(back))


def fill(url: str, rows: int, grown: int) -> None:
    """Let the tables grow from ``rows`` jobs to ``grown``."""
    with _connected(url) as connection:
        with without_indexes(connection):
            for first, last in _batches(rows + 1, grown):
                connection.execute(jobs_sql(first, last, 200 * LIVE))
        if not rows:
            for statement in ONCE:
                connection.execute(statement)
        _fill(connection, EVENTS, rows + 1, min(grown, IN_TIMELINE))
        _fill(connection, MESSAGES, rows + 1, min(grown, IN_OUTBOX))
        # The lines get these times, not the present one.
        connection.execute("SET session_replication_role = replica")
        _fill(connection, AUDIT, rows + 1, grown)
        connection.execute("SET session_replication_role = DEFAULT")
        growth_figures.fill(connection, first=not rows)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def settle(url: str) -> None:
    """Let every run be as at the beginning: the same ones stale, all others with a beat of this moment."""
    with _connected(url) as connection:
        connection.execute(AGAIN)
        connection.execute(BEAT)
        connection.execute("VACUUM (ANALYZE) worker_heartbeats")


def bytes_of(url: str) -> dict[str, int]:
    """Return the bytes of the largest tables with their indexes; the timeline is the sum of its months."""
    with _connected(url) as connection:
        rows = connection.execute(
            """SELECT coalesce(inhparent, relid)::regclass::text, sum(pg_total_relation_size(relid))::bigint
                 FROM pg_catalog.pg_statio_user_tables LEFT JOIN pg_inherits ON inhrelid = relid
                GROUP BY 1 ORDER BY 2 DESC"""
        ).fetchall()
        return {str(name): int(size) for name, size in rows}


def _fill(connection: psycopg.Connection, statement: str, first: int, last: int) -> None:
    for begin_at, end_at in _batches(first, last):
        connection.execute(statement.format(begin=begin_at, end=end_at))


def _batches(first: int, last: int) -> list[tuple[int, int]]:
    return [(begin_at, min(begin_at + BATCH - 1, last)) for begin_at in range(first, last + 1, BATCH)]


def _partition(back: int) -> str:
    return f"""
        DO $$ DECLARE month timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC' - interval '{back} months') AT TIME ZONE 'UTC';
        BEGIN EXECUTE format('CREATE TABLE IF NOT EXISTS job_events_%s PARTITION OF job_events FOR VALUES FROM (%L) TO (%L)',
            to_char(month AT TIME ZONE 'UTC', 'YYYY_MM'), month, (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
        END $$"""


def _connected(url: str) -> psycopg.Connection:
    """Connect with the console's own tables, which are in a schema of theirs, on the path."""
    return psycopg.connect(
        url, autocommit=True, options="-c synchronous_commit=off -c search_path=opsconsole,public"
    )
