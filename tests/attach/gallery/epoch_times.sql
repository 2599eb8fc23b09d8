-- A Node service: seconds since 1970 in bigint columns.
CREATE TABLE tasks (
    id uuid PRIMARY KEY,
    user_id integer NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    priority smallint NOT NULL DEFAULT 5,
    error text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    started_at bigint,
    finished_at bigint
);
CREATE TABLE worker_pings (worker_id text PRIMARY KEY, task_id uuid, pinged_at bigint NOT NULL);
INSERT INTO tasks (id, user_id, kind, status, error, created_at, updated_at, started_at, finished_at)
SELECT gen_random_uuid(), n % 11, 'thumbnail', status, CASE status WHEN 'failed' THEN 'ENOENT' END, at, at + 45,
       CASE WHEN status <> 'waiting' THEN at + 2 END, CASE WHEN status IN ('finished', 'failed') THEN at + 45 END
  FROM (SELECT n, extract(epoch FROM now())::bigint - n * 700 AS at,
               CASE WHEN n <= 3 THEN 'waiting' WHEN n <= 6 THEN 'active' WHEN n % 14 = 0 THEN 'failed' ELSE 'finished' END AS status
          FROM generate_series(1, 75) AS n) AS task;
INSERT INTO worker_pings SELECT 'node-' || row_number() OVER (), id, extract(epoch FROM now()) FROM tasks WHERE status = 'active';
