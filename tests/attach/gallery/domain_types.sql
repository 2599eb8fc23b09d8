-- Domains in place of plain types, and a queue column with words of its own.
CREATE DOMAIN job_word AS text CHECK (VALUE IN ('new', 'running', 'ok', 'failed', 'dead'));
CREATE DOMAIN short_text AS varchar(120) NOT NULL;
CREATE TABLE import_jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id short_text,
    package_size integer NOT NULL DEFAULT 1,
    priority_level text NOT NULL DEFAULT 'normal',
    status job_word NOT NULL DEFAULT 'new',
    queue text NOT NULL CHECK (queue IN ('night', 'day')),
    error_message varchar(200),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);
CREATE TABLE worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
INSERT INTO import_jobs (customer_id, status, queue, error_message, created_at, updated_at, started_at, completed_at)
SELECT 'customer-' || n % 5, word, CASE n % 2 WHEN 0 THEN 'night' ELSE 'day' END,
       CASE WHEN word IN ('failed', 'dead') THEN 'line 12: no such column' END, at, at + interval '2 minutes',
       CASE WHEN word <> 'new' THEN at END, CASE word WHEN 'ok' THEN at + interval '2 minutes' END
  FROM (SELECT n, now() - n * interval '11 minutes' AS at,
               CASE WHEN n <= 3 THEN 'new' WHEN n <= 6 THEN 'running' WHEN n % 10 = 0 THEN 'failed' WHEN n % 21 = 0 THEN 'dead'
                    ELSE 'ok' END AS word FROM generate_series(1, 70) AS n) AS job;
INSERT INTO worker_heartbeats SELECT 'i-' || row_number() OVER (), id, now() FROM import_jobs WHERE status = 'running';
