-- A queue whose janitor looks at last_heartbeat on the row (Rust); the lock is an id that the worker must show.
CREATE TYPE job_state AS ENUM ('available', 'running', 'completed', 'failed', 'paused', 'canceled');
CREATE TABLE cyclotron_jobs (
    id uuid PRIMARY KEY,
    team_id integer NOT NULL,
    function_id uuid,
    created timestamptz NOT NULL,
    lock_id uuid,
    last_heartbeat timestamptz,
    janitor_touch_count smallint NOT NULL,
    transition_count smallint NOT NULL,
    last_transition timestamptz NOT NULL,
    queue_name text NOT NULL,
    state job_state NOT NULL,
    scheduled timestamptz NOT NULL,
    priority smallint NOT NULL,
    vm_state bytea
);
CREATE INDEX ON cyclotron_jobs (queue_name, priority, scheduled, last_transition) WHERE state = 'available';
INSERT INTO cyclotron_jobs
SELECT gen_random_uuid(), n % 3, NULL, at, CASE state WHEN 'running' THEN gen_random_uuid() END,
       CASE state WHEN 'running' THEN CASE WHEN n = 4 THEN at ELSE now() END END, 0, 1, at + interval '1 minute',
       'fetch', state::job_state, at, 2, '\x01'
  FROM (SELECT n, now() - n * interval '8 minutes' AS at,
               CASE WHEN n <= 3 THEN 'available' WHEN n <= 7 THEN 'running' WHEN n % 10 = 0 THEN 'failed' WHEN n = 8 THEN 'paused'
                    WHEN n % 13 = 0 THEN 'canceled' ELSE 'completed' END AS state FROM generate_series(1, 80) AS n) AS job;
