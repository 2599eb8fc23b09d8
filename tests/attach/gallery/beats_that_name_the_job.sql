-- A test farm (Perl): workers name their job, the job names its worker, and a result stands beside the state.
CREATE TABLE jobs (
    id bigserial PRIMARY KEY,
    result_dir text,
    state varchar NOT NULL DEFAULT 'scheduled',
    priority integer NOT NULL DEFAULT 50,
    result varchar NOT NULL DEFAULT 'none',
    reason varchar,
    clone_id bigint REFERENCES jobs ON DELETE SET NULL,
    "TEST" text NOT NULL,
    archived boolean NOT NULL DEFAULT false,
    assigned_worker_id bigint,
    t_started timestamp,
    t_finished timestamp,
    t_created timestamp NOT NULL,
    t_updated timestamp NOT NULL
);
CREATE TABLE workers (
    id bigserial PRIMARY KEY,
    host text NOT NULL,
    instance integer NOT NULL,
    job_id bigint UNIQUE REFERENCES jobs ON DELETE SET NULL DEFERRABLE,
    t_seen timestamp,
    t_created timestamp NOT NULL,
    t_updated timestamp NOT NULL,
    UNIQUE (host, instance)
);
ALTER TABLE jobs ADD FOREIGN KEY (assigned_worker_id) REFERENCES workers ON DELETE SET NULL DEFERRABLE;
INSERT INTO workers (host, instance, t_seen, t_created, t_updated)
SELECT 'farm-' || n % 3, n, (now() AT TIME ZONE 'UTC') - CASE WHEN n = 6 THEN interval '3 hours' ELSE interval '9 seconds' END,
       now() - interval '40 days', now() FROM generate_series(1, 9) AS n;
INSERT INTO jobs (state, result, reason, "TEST", assigned_worker_id, t_started, t_finished, t_created, t_updated)
SELECT state, CASE WHEN state <> 'done' THEN 'none' WHEN n % 7 = 0 THEN 'failed' ELSE 'passed' END,
       CASE WHEN state = 'cancelled' THEN 'quit: the worker was stopped' END, 'install@64bit',
       CASE WHEN state IN ('running', 'uploading', 'setup') THEN (SELECT id FROM workers WHERE instance = n) END,
       CASE WHEN state NOT IN ('scheduled', 'assigned') THEN at END,
       CASE WHEN state IN ('done', 'cancelled') THEN at + interval '30 minutes' END, at, at
  FROM (SELECT n, (now() AT TIME ZONE 'UTC') - n * interval '17 minutes' AS at,
               CASE WHEN n <= 4 THEN 'running' WHEN n = 5 THEN 'uploading' WHEN n = 6 THEN 'running' WHEN n = 7 THEN 'setup'
                    WHEN n = 8 THEN 'assigned' WHEN n <= 15 THEN 'scheduled' WHEN n % 12 = 0 THEN 'cancelled'
                    ELSE 'done' END AS state FROM generate_series(1, 90) AS n) AS job;
UPDATE workers SET job_id = jobs.id FROM jobs WHERE jobs.assigned_worker_id = workers.id;
