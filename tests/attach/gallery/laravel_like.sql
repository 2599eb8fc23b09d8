-- A PHP application: the framework's own queue has no status at all, the deployments are what people watch.
CREATE TABLE migrations (id serial PRIMARY KEY, migration varchar(255) NOT NULL, batch integer NOT NULL);
CREATE TABLE jobs (
    id bigserial PRIMARY KEY,
    queue varchar(255) NOT NULL,
    payload text NOT NULL,
    attempts smallint NOT NULL,
    reserved_at integer,
    available_at integer NOT NULL,
    created_at integer NOT NULL
);
CREATE INDEX jobs_queue_index ON jobs (queue);
CREATE TABLE failed_jobs (
    id bigserial PRIMARY KEY, uuid varchar(255) NOT NULL UNIQUE, connection text NOT NULL, queue text NOT NULL,
    payload text NOT NULL, exception text NOT NULL, failed_at timestamp(0) NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE application_deployment_queues (
    id bigserial PRIMARY KEY,
    application_id varchar(255) NOT NULL,
    deployment_uuid varchar(255) NOT NULL UNIQUE,
    pull_request_id integer NOT NULL DEFAULT 0,
    force_rebuild boolean NOT NULL DEFAULT false,
    commit varchar(255) NOT NULL DEFAULT 'HEAD',
    status varchar(255) NOT NULL DEFAULT 'queued',
    logs text,
    current_process_id varchar(255),
    created_at timestamp(0),
    updated_at timestamp(0)
);
INSERT INTO jobs (queue, payload, attempts, available_at, created_at)
SELECT 'default', '{"displayName":"App\\Jobs\\SendMail"}', 0, extract(epoch FROM now()), extract(epoch FROM now())
  FROM generate_series(1, 5);
INSERT INTO application_deployment_queues (application_id, deployment_uuid, status, logs, created_at, updated_at)
SELECT n % 7, left(md5('deployment ' || n), 24), status, '[]', at, at + interval '2 minutes'
  FROM (SELECT n, (now() AT TIME ZONE 'UTC')::timestamp(0) - n * interval '37 minutes' AS at,
               CASE WHEN n <= 2 THEN 'queued' WHEN n <= 4 THEN 'in_progress' WHEN n % 10 = 0 THEN 'failed'
                    WHEN n % 21 = 0 THEN 'cancelled-by-user' ELSE 'finished' END AS status
          FROM generate_series(1, 80) AS n) AS deployment;
