-- Ids that sort by time and are texts, as an event pipeline makes them.
CREATE TABLE pipeline_jobs (
    id varchar(30) PRIMARY KEY,
    customer_id text NOT NULL,
    package_size integer NOT NULL DEFAULT 10,
    priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL CHECK (status IN ('created', 'running', 'success', 'failed', 'cancelled')),
    error_message varchar(512),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz,
    heartbeat_at timestamptz
);
INSERT INTO pipeline_jobs (id, customer_id, status, error_message, created_at, updated_at, started_at, completed_at, heartbeat_at)
SELECT 'job_' || upper(left(md5(n::text), 26)), 'customer-' || n % 9, status,
       CASE status WHEN 'failed' THEN 'exit code 137' END, at, at + interval '90 seconds',
       CASE WHEN status <> 'created' THEN at END, CASE status WHEN 'success' THEN at + interval '90 seconds' END,
       CASE status WHEN 'running' THEN now() - n * interval '20 seconds' END
  FROM (SELECT n, now() - n * interval '6 minutes' AS at,
               CASE WHEN n <= 2 THEN 'created' WHEN n <= 7 THEN 'running' WHEN n % 15 = 0 THEN 'failed'
                    WHEN n % 22 = 0 THEN 'cancelled' ELSE 'success' END AS status FROM generate_series(1, 90) AS n) AS job;
