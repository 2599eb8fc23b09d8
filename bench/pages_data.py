"""The data of a console in long use: tables filled with as many rows as a busy team accumulates."""

from __future__ import annotations

import psycopg

# The newest job was enqueued now, and each earlier one five seconds before the next.
APART = "interval '5 seconds'"
# The newest 0.5 % are running or pending; the rest includes some failed, quarantined and cancelled jobs.
STATUS = """CASE WHEN n <= {rows} / 200 AND n % 2 = 0 THEN 'in_progress' WHEN n <= {rows} / 200 THEN 'pending'
                 WHEN n % 100 = 7 THEN 'failed' WHEN n % 200 = 11 THEN 'quarantined' WHEN n % 200 = 13 THEN 'cancelled'
                 ELSE 'completed' END"""
JOBS = """
INSERT INTO jobs (id, customer_id, package_size, priority_level, status, error_message, created_at, updated_at,
                  started_at, completed_at, run_epoch, claimed_epoch, worker_id, queue)
SELECT md5('job ' || n)::uuid, 'customer-' || n %% 5000, 50,
       CASE WHEN n %% 5000 = 17 THEN 'rare' WHEN n %% 3 = 0 THEN 'growth' ELSE 'starter' END, status,
       CASE WHEN status IN ('failed', 'quarantined') THEN 'the directory did not answer' END, at, at,
       CASE WHEN status <> 'pending' THEN at END, CASE WHEN status = 'completed' THEN at END, 1,
       CASE WHEN status <> 'pending' THEN 1 END, CASE WHEN status <> 'pending' THEN 'worker-' || n %% 300 END,
       {queue}
  FROM (SELECT n, now() - n * {apart} AS at, {status} AS status FROM generate_series({begin}, {end}) AS n) AS job
 ORDER BY n DESC
"""
REST = (
    """INSERT INTO job_events (job_id, at, kind, run_epoch, actor)
       SELECT md5('job ' || n)::uuid, now() - n * {apart} + k * interval '1 second',
              (ARRAY['enqueued', 'claimed', 'completed'])[k + 1], 1, 'worker:worker-' || n % 300
         FROM generate_series({rows} / 2, 1, -1) AS n, generate_series(0, 2) AS k""",
    # Sent as soon as they were written, and not yet removed: retention keeps them for a week.
    """INSERT INTO outbox (job_id, run_epoch, state, sent_at, created_at, available_at, message_id)
       SELECT md5('job ' || n)::uuid, 1, 'sent', at, at, at, 'message-' || n
         FROM generate_series({rows} / 5, 1, -1) AS n,
              LATERAL (SELECT now() - n * interval '6 days' / ({rows} / 5)) AS written (at)""",
    """INSERT INTO worker_heartbeats (worker_id, current_job_id, current_run_epoch, last_heartbeat, hostname, pid, metadata)
       SELECT 'worker-' || n, md5('job ' || 2 * n)::uuid, 1,
              CASE WHEN n % 10 = 0 THEN now() - interval '20 minutes' ELSE now() + interval '1 day' END,
              'host-' || n % 9, n, '{{"protocol": 1}}' FROM generate_series(1, 1000) AS n""",
    """INSERT INTO sweeps (trigger, mode, started_at, finished_at, found, requeued)
       SELECT 'schedule', 'armed', now() - n * interval '2 minutes', now() - n * interval '2 minutes', n % 3, n % 3
         FROM generate_series(20000, 1, -1) AS n""",
    # The lines get these times, not the present one.
    "SET session_replication_role = replica",
    """INSERT INTO django_admin_log (action_time, user_id, content_type_id, object_id, object_repr, action_flag, change_message)
       SELECT now() - n * interval '1 minute', (SELECT min(id) FROM auth_user),
              (SELECT id FROM django_content_type WHERE app_label = 'jobs' AND model = 'job'), md5('job ' || n)::uuid,
              'job', 2, E'Requeued.\\nWhy: the customer called' FROM generate_series(100000, 1, -1) AS n""",
    "SET session_replication_role = DEFAULT",
    """INSERT INTO django_q_task (id, name, func, args, kwargs, started, stopped, success, attempt_count)
       SELECT md5('task ' || n), 'task-' || n, 'jobs.tasks.sweep', '[]', '{{}}', now() - n * {apart},
              now() - n * {apart}, true, 1 FROM generate_series(1, {rows}) AS n""",
    """INSERT INTO procrastinate_jobs (queue_name, task_name, status, attempts)
       SELECT 'default', 'submit', (CASE WHEN n % 100 = 0 THEN 'doing' ELSE 'succeeded' END)::procrastinate_job_status, 1
         FROM generate_series(1, {rows}) AS n""",
)


def fill(url: str, rows: int, *, queue: str = "'default'", peers: bool = True) -> None:
    """Fill the tables. ``queue``: the queue of job ``n``, as SQL. ``peers``: also the tables of other job queues."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        # The console's own tables are in a schema of theirs.
        connection.execute("SET search_path = opsconsole, public")
        connection.execute(jobs_sql(1, rows, rows, queue))
        for statement in REST:
            if not peers and ("procrastinate" in statement or "django_q_task" in statement):
                continue
            connection.execute(statement.format(rows=rows, apart=APART))
        connection.execute("VACUUM (ANALYZE)")


def grow(url: str, rows: int, grown: int) -> None:
    """Add older jobs in any state, up to ``grown`` in total."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        # The console's own tables are in a schema of theirs.
        connection.execute("SET search_path = opsconsole, public")
        for begin in range(rows + 1, grown + 1, rows):
            connection.execute(jobs_sql(begin, min(begin + rows - 1, grown), rows))
        connection.execute("VACUUM (ANALYZE)")


def jobs_sql(begin: int, end: int, rows: int, queue: str = "'default'") -> str:
    """Return the statement that inserts the jobs ``begin`` to ``end``, of which the newest ``rows / 200`` are not ended."""
    statement = JOBS.format(begin=begin, end=end, apart=APART, status=STATUS.format(rows=rows), queue=queue)
    return statement.replace("%%", "%")
