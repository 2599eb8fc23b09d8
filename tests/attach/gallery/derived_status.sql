-- A service written in Go: the status is an enum that the database derives from times and the error.
CREATE TABLE organizations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL);
CREATE TYPE provisioner_job_status AS ENUM
    ('pending', 'running', 'succeeded', 'canceling', 'canceled', 'failed', 'unknown');
CREATE TABLE provisioner_jobs (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    started_at timestamptz,
    canceled_at timestamptz,
    completed_at timestamptz,
    error text,
    organization_id uuid NOT NULL REFERENCES organizations,
    input jsonb NOT NULL DEFAULT '{}',
    worker_id uuid,
    job_status provisioner_job_status GENERATED ALWAYS AS (CASE
        WHEN completed_at IS NOT NULL THEN CASE
            WHEN error <> '' THEN 'failed'::provisioner_job_status
            WHEN canceled_at IS NOT NULL THEN 'canceled'::provisioner_job_status
            ELSE 'succeeded'::provisioner_job_status END
        WHEN error <> '' THEN 'failed'::provisioner_job_status
        WHEN canceled_at IS NOT NULL THEN 'canceling'::provisioner_job_status
        WHEN started_at IS NULL THEN 'pending'::provisioner_job_status
        ELSE 'running'::provisioner_job_status END) STORED NOT NULL
);
CREATE TABLE provisioner_job_logs (
    job_id uuid NOT NULL REFERENCES provisioner_jobs ON DELETE CASCADE,
    id bigserial PRIMARY KEY,
    output text NOT NULL
);
INSERT INTO organizations (name) VALUES ('Harbour Bakery'), ('North Stand');
INSERT INTO provisioner_jobs (id, created_at, updated_at, started_at, canceled_at, completed_at, error, organization_id, worker_id)
SELECT gen_random_uuid(), at, coalesce(ended, started, at), started,
       CASE WHEN n % 17 = 0 THEN ended END, ended, CASE WHEN n % 9 = 0 THEN 'the template has no image' END,
       (SELECT id FROM organizations ORDER BY name LIMIT 1), CASE WHEN started IS NOT NULL THEN gen_random_uuid() END
  FROM (SELECT n, at, CASE WHEN n > 3 THEN at + interval '20 seconds' END AS started,
               CASE WHEN n > 6 THEN at + interval '4 minutes' END AS ended
          FROM (SELECT n, now() - n * interval '11 minutes' AS at FROM generate_series(1, 60) AS n) AS each) AS job;
