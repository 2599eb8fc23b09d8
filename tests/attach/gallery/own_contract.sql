-- The contract as the console's own documentation has it, in use for a while.
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text NOT NULL,
    package_size int NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);
CREATE TABLE worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE rate_limit_requests (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), key text NOT NULL, endpoint text NOT NULL, method text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON rate_limit_requests (key, created_at DESC);
INSERT INTO jobs (customer_id, package_size, priority_level, status, error_message, created_at, updated_at, started_at, completed_at)
SELECT 'customer-' || n % 20, 50 * (1 + n % 4), (ARRAY['starter', 'growth', 'pro'])[1 + n % 3], status,
       CASE status WHEN 'failed' THEN 'the directory did not answer' END, at, at + interval '25 minutes',
       CASE WHEN status <> 'pending' THEN at END, CASE status WHEN 'completed' THEN at + interval '25 minutes' END
  FROM (SELECT n, now() - n * interval '26 minutes' AS at,
               CASE WHEN n <= 4 THEN 'pending' WHEN n <= 9 THEN 'in_progress' WHEN n % 10 = 0 THEN 'failed' ELSE 'completed' END
                   AS status FROM generate_series(1, 100) AS n) AS job;
INSERT INTO worker_heartbeats
SELECT 'worker-' || n, id, now() - CASE n WHEN 1 THEN interval '5 hours' ELSE interval '10 seconds' END
  FROM (SELECT row_number() OVER (ORDER BY created_at) AS n, id FROM jobs WHERE status = 'in_progress') AS run;
INSERT INTO rate_limit_requests (key, endpoint, method) SELECT 'ip:192.0.2.' || n, '/api/jobs', 'POST' FROM generate_series(1, 9) AS n;
