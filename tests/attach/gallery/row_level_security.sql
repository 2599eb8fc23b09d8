-- Everybody sees their own rows; only the service sees all.
DO $$BEGIN CREATE ROLE gallery_service NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$;
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    occasion text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);
CREATE TABLE worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON jobs FOR SELECT USING (user_id::text = current_setting('app.user_id', true));
CREATE POLICY service ON jobs TO gallery_service USING (true);
INSERT INTO jobs (user_id, occasion, status, error, created_at, started_at, completed_at)
SELECT md5('user ' || n % 6)::uuid, 'birthday', status, CASE status WHEN 'failed' THEN 'no gift was found' END, at,
       CASE WHEN status <> 'pending' THEN at END, CASE status WHEN 'completed' THEN at + interval '1 minute' END
  FROM (SELECT n, now() - n * interval '13 minutes' AS at,
               CASE WHEN n <= 2 THEN 'pending' WHEN n <= 5 THEN 'processing' WHEN n % 9 = 0 THEN 'failed' ELSE 'completed' END
                   AS status FROM generate_series(1, 60) AS n) AS job;
INSERT INTO worker_heartbeats SELECT 'edge-' || row_number() OVER (), id, now() FROM jobs WHERE status = 'processing';
