-- A small service with counted ids; a batch may have one open job.
CREATE TABLE tenants (tenant_id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE lead_jobs (
    job_id bigserial PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    status text NOT NULL DEFAULT 'queued',
    params jsonb NOT NULL DEFAULT '{}',
    processed integer NOT NULL DEFAULT 0,
    cancel_requested boolean NOT NULL DEFAULT false,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    ended_at timestamptz
);
CREATE UNIQUE INDEX one_open_job_a_batch ON lead_jobs (tenant_id, (params ->> 'batch_id'))
    WHERE status IN ('queued', 'running');
INSERT INTO tenants (name) SELECT 'Tenant ' || n FROM generate_series(1, 4) AS n;
INSERT INTO lead_jobs (tenant_id, status, params, error, created_at, updated_at, started_at, ended_at)
SELECT 1 + n % 4, status, jsonb_build_object('batch_id', 'batch-' || n), CASE status WHEN 'error' THEN 'rate limited' END, at,
       at + interval '2 minutes', CASE WHEN status <> 'queued' THEN at END,
       CASE WHEN status IN ('done', 'error') THEN at + interval '2 minutes' END
  FROM (SELECT n, now() - n * interval '12 minutes' AS at,
               CASE WHEN n <= 3 THEN 'queued' WHEN n <= 6 THEN 'running' WHEN n % 8 = 0 THEN 'error' ELSE 'done' END AS status
          FROM generate_series(1, 70) AS n) AS job;
