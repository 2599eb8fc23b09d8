-- An ORM's default: every time is a timestamp without a zone, in UTC.
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id varchar(64) NOT NULL,
    package_size integer NOT NULL,
    priority_level varchar(16) NOT NULL DEFAULT 'starter',
    status varchar(24) NOT NULL DEFAULT 'pending',
    error_message text,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    updated_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'utc'),
    started_at timestamp,
    completed_at timestamp
);
CREATE TABLE worker_heartbeats (
    worker_id varchar(64) PRIMARY KEY, current_job_id uuid, last_heartbeat timestamp NOT NULL
);
INSERT INTO jobs (customer_id, package_size, status, error_message, created_at, updated_at, started_at, completed_at)
SELECT 'customer-' || n % 12, 50, status, CASE status WHEN 'failed' THEN 'timeout' END, at, at + interval '4 minutes',
       CASE WHEN status <> 'pending' THEN at END, CASE status WHEN 'completed' THEN at + interval '4 minutes' END
  FROM (SELECT n, (now() AT TIME ZONE 'utc') - n * interval '10 minutes' AS at,
               CASE WHEN n <= 4 THEN 'pending' WHEN n <= 7 THEN 'in_progress' WHEN n % 10 = 0 THEN 'failed'
                    WHEN n % 27 = 0 THEN 'cancelled' ELSE 'completed' END AS status FROM generate_series(1, 80) AS n) AS job;
INSERT INTO worker_heartbeats SELECT 'w-' || row_number() OVER (), id, now() AT TIME ZONE 'utc' FROM jobs WHERE status = 'in_progress';
