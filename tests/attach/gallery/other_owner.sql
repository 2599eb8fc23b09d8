-- The tables belong to a team of database administrators, who grant rows and nothing else.
DO $$BEGIN CREATE ROLE gallery_dba NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$;
DO $$BEGIN CREATE ROLE gallery_console LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$;
CREATE SCHEMA billing AUTHORIZATION gallery_dba;
SET ROLE gallery_dba;
CREATE TABLE billing.jobs (
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
CREATE TABLE billing.worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
GRANT USAGE ON SCHEMA billing TO gallery_console;
GRANT SELECT, INSERT, UPDATE ON billing.jobs TO gallery_console;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing.worker_heartbeats TO gallery_console;
RESET ROLE;
INSERT INTO billing.jobs (customer_id, package_size, status, created_at, updated_at, started_at, completed_at)
SELECT 'customer-' || n % 8, 200, status, at, at + interval '8 minutes', CASE WHEN status <> 'pending' THEN at END,
       CASE status WHEN 'completed' THEN at + interval '8 minutes' END
  FROM (SELECT n, now() - n * interval '16 minutes' AS at,
               CASE WHEN n <= 3 THEN 'pending' WHEN n <= 5 THEN 'in_progress' WHEN n % 9 = 0 THEN 'failed' ELSE 'completed' END
                   AS status FROM generate_series(1, 60) AS n) AS job;
INSERT INTO billing.worker_heartbeats SELECT 'b-' || row_number() OVER (), id, now() FROM billing.jobs WHERE status = 'in_progress';
