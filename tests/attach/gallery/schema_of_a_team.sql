-- A schema per team, off the search path; its name for jobs is tasks.
CREATE SCHEMA publishing;
CREATE TABLE publishing.tasks (
    task_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_ref text NOT NULL,
    size integer NOT NULL,
    tier text NOT NULL DEFAULT 'starter',
    state text NOT NULL DEFAULT 'pending',
    failure text,
    queued_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    begun_at timestamptz,
    ended_at timestamptz
);
CREATE TABLE publishing.beats (worker text PRIMARY KEY, task_id uuid, beat_at timestamptz NOT NULL);
INSERT INTO publishing.tasks (client_ref, size, state, failure, queued_at, changed_at, begun_at, ended_at)
SELECT 'C-' || n % 20, 100, state, CASE state WHEN 'failed' THEN 'no such page' END, at, at + interval '3 minutes',
       CASE WHEN state <> 'pending' THEN at + interval '1 minute' END, CASE state WHEN 'done' THEN at + interval '3 minutes' END
  FROM (SELECT n, now() - n * interval '14 minutes' AS at,
               CASE WHEN n <= 3 THEN 'pending' WHEN n <= 6 THEN 'working' WHEN n % 9 = 0 THEN 'failed' ELSE 'done' END AS state
          FROM generate_series(1, 70) AS n) AS task;
INSERT INTO publishing.beats SELECT 'p-' || row_number() OVER (), task_id, now() FROM publishing.tasks WHERE state = 'working';
