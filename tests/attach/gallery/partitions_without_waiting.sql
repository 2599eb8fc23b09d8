-- A data pipeline beside SQS: executions in quarters, which are written when they begin, so that none of them waits.
CREATE TABLE executions (
    cumulus_id bigserial,
    arn text NOT NULL,
    name text NOT NULL,
    parent_cumulus_id bigint,
    parent_created_at timestamptz(3),
    workflow_name text,
    status text NOT NULL CHECK (status IN ('running', 'completed', 'failed', 'unknown')),
    error jsonb,
    archived boolean NOT NULL DEFAULT false,
    duration real,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    PRIMARY KEY (cumulus_id, created_at),
    UNIQUE (arn, created_at),
    FOREIGN KEY (parent_cumulus_id, parent_created_at) REFERENCES executions (cumulus_id, created_at) ON DELETE SET NULL
) PARTITION BY RANGE (created_at);
CREATE TABLE executions_2026_q3 PARTITION OF executions FOR VALUES FROM ('2026-07-01') TO ('2026-10-01');
CREATE TABLE executions_2026_q4 PARTITION OF executions FOR VALUES FROM ('2026-10-01') TO ('2027-01-01');
CREATE TABLE executions_default PARTITION OF executions DEFAULT;
INSERT INTO executions (arn, name, workflow_name, status, error, created_at, updated_at)
SELECT 'arn:aws:states:eu-west-1:1:execution:ingest:' || n, 'ingest-' || n, 'IngestGranule',
       CASE WHEN n <= 4 THEN 'running' WHEN n % 8 = 0 THEN 'failed' ELSE 'completed' END,
       CASE WHEN n % 8 = 0 THEN '{"Error": "States.TaskFailed"}'::jsonb END,
       now() - n * interval '2 days', now() - n * interval '2 days' + interval '7 minutes'
  FROM generate_series(1, 80) AS n;
