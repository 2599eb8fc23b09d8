-- The jobs are copied to a warehouse, whose table has the columns of today and no others.
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
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
CREATE PUBLICATION warehouse FOR TABLE jobs;
INSERT INTO jobs (customer_id, package_size, status, error_message, created_at, updated_at, started_at, completed_at)
SELECT 'customer-' || n % 25, 50, status, CASE status WHEN 'failed' THEN 'captcha' END, at, at + interval '20 minutes',
       CASE WHEN status <> 'pending' THEN at END, CASE status WHEN 'completed' THEN at + interval '20 minutes' END
  FROM (SELECT n, now() - n * interval '21 minutes' AS at,
               CASE WHEN n <= 3 THEN 'pending' WHEN n <= 6 THEN 'in_progress' WHEN n % 10 = 0 THEN 'failed'
                    WHEN n % 17 = 0 THEN 'cancelled' ELSE 'completed' END AS status FROM generate_series(1, 90) AS n) AS job;
INSERT INTO worker_heartbeats SELECT 'w-' || row_number() OVER (), id, now() FROM jobs WHERE status = 'in_progress';
