-- Jobs in eight partitions by the hash of their id, so that the id alone is the key.
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text NOT NULL,
    package_size integer NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    error_message text,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    started_at timestamptz(3),
    completed_at timestamptz(3)
) PARTITION BY HASH (id);
DO $$BEGIN
    FOR part IN 0..7 LOOP
        EXECUTE format('CREATE TABLE jobs_%s PARTITION OF jobs FOR VALUES WITH (MODULUS 8, REMAINDER %s)', part, part);
    END LOOP;
END$$;
CREATE TABLE worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
INSERT INTO jobs (customer_id, package_size, status, created_at, updated_at, started_at)
SELECT 'customer-' || n % 30, 50, CASE WHEN n <= 5 THEN 'queued' WHEN n <= 9 THEN 'running' WHEN n % 8 = 0 THEN 'failed'
       ELSE 'completed' END, now() - n * interval '9 minutes', now() - n * interval '9 minutes',
       CASE WHEN n > 5 THEN now() - n * interval '9 minutes' END FROM generate_series(1, 120) AS n;
INSERT INTO worker_heartbeats (worker_id, current_job_id, last_heartbeat)
SELECT 'worker-' || row_number() OVER (ORDER BY id), id, now() - interval '20 seconds' FROM jobs WHERE status = 'running';
