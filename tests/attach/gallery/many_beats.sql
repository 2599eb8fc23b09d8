-- A beat is a new row each time: the newest one of a worker counts.
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text NOT NULL,
    package_size integer NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);
CREATE TABLE worker_heartbeats (
    worker_id text NOT NULL,
    current_job_id uuid,
    last_heartbeat timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON worker_heartbeats (worker_id, last_heartbeat DESC);
INSERT INTO jobs (customer_id, package_size, status, created_at, updated_at, started_at, completed_at)
SELECT 'customer-' || n % 14, 50, status, at, at + interval '9 minutes', CASE WHEN status <> 'pending' THEN at END,
       CASE status WHEN 'completed' THEN at + interval '9 minutes' END
  FROM (SELECT n, now() - n * interval '9 minutes' AS at,
               CASE WHEN n <= 3 THEN 'pending' WHEN n <= 6 THEN 'in_progress' WHEN n % 12 = 0 THEN 'failed' ELSE 'completed' END
                   AS status FROM generate_series(1, 70) AS n) AS job;
INSERT INTO worker_heartbeats
SELECT 'w-' || left(id::text, 4), id, now() - beat * interval '30 seconds'
  FROM jobs CROSS JOIN generate_series(0, 40) AS beat WHERE status = 'in_progress';
