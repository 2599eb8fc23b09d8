-- A Supabase project (its roles renamed, because a server has each role once): default privileges, heartbeats
-- that name no job, one job a customer.
DO $$BEGIN CREATE ROLE gallery_anon NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$;
DO $$BEGIN CREATE ROLE gallery_authenticated NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$;
DO $$BEGIN CREATE ROLE gallery_service_role NOLOGIN BYPASSRLS; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$;
GRANT USAGE ON SCHEMA public TO gallery_anon, gallery_authenticated, gallery_service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO gallery_anon, gallery_authenticated, gallery_service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO gallery_anon, gallery_authenticated, gallery_service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO gallery_anon, gallery_authenticated, gallery_service_role;
CREATE TABLE customers (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), business_name text NOT NULL, email text);
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id uuid NOT NULL UNIQUE REFERENCES customers ON DELETE CASCADE,
    package_size integer NOT NULL DEFAULT 50,
    priority_level integer NOT NULL DEFAULT 3,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'in_progress', 'complete', 'failed')),
    business_data jsonb NOT NULL DEFAULT '{}',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);
CREATE TABLE worker_status (
    worker_id text PRIMARY KEY,
    status text NOT NULL DEFAULT 'running',
    queue_depth integer,
    last_heartbeat timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY "service role" ON jobs TO gallery_service_role USING (true);
INSERT INTO customers (business_name) SELECT 'Bakery no. ' || n FROM generate_series(1, 60) AS n;
INSERT INTO jobs (customer_id, priority_level, status, error_message, created_at, updated_at, started_at, completed_at)
SELECT customer, 1 + n % 4, status, CASE status WHEN 'failed' THEN 'directory 12 refused the phone number' END, at, at,
       CASE WHEN status <> 'pending' THEN at + interval '5 seconds' END,
       CASE status WHEN 'complete' THEN at + interval '40 minutes' END
  FROM (SELECT n, customer, now() - n * interval '50 minutes' AS at,
               CASE WHEN n <= 3 THEN 'pending' WHEN n <= 8 THEN 'in_progress' WHEN n % 9 = 0 THEN 'failed' ELSE 'complete' END
                   AS status
          FROM (SELECT row_number() OVER (ORDER BY id) AS n, id AS customer FROM customers) AS each) AS job;
INSERT INTO worker_status (worker_id, last_heartbeat)
VALUES ('poller-1', now() - interval '6 seconds'), ('poller-2', now() - interval '2 hours');
