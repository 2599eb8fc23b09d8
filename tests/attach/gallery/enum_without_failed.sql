-- An enum with three words: what fails is tried again until it is done.
CREATE TYPE render_state AS ENUM ('queued', 'running', 'done');
CREATE TABLE render_jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text NOT NULL,
    frames integer NOT NULL,
    state render_state NOT NULL DEFAULT 'queued',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE TABLE worker_heartbeats (worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL);
INSERT INTO render_jobs (customer_id, frames, state, created_at, updated_at, started_at, finished_at)
SELECT 'studio-' || n % 4, 240, state::render_state, at, at + interval '5 minutes', CASE WHEN state <> 'queued' THEN at END,
       CASE state WHEN 'done' THEN at + interval '5 minutes' END
  FROM (SELECT n, now() - n * interval '15 minutes' AS at,
               CASE WHEN n <= 3 THEN 'queued' WHEN n <= 6 THEN 'running' ELSE 'done' END AS state
          FROM generate_series(1, 60) AS n) AS job;
INSERT INTO worker_heartbeats SELECT 'gpu-' || row_number() OVER (), id, now() FROM render_jobs WHERE state = 'running';
