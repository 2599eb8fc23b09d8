-- A queue as a Go library keeps it: retries and dead jobs are states, and a CHECK binds the end to the time of the end.
CREATE TYPE river_job_state AS ENUM (
    'available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'
);
CREATE TABLE river_job (
    id bigserial PRIMARY KEY,
    state river_job_state NOT NULL DEFAULT 'available',
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL DEFAULT 25,
    attempted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finalized_at timestamptz,
    scheduled_at timestamptz NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 1,
    args jsonb NOT NULL DEFAULT '{}',
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL DEFAULT 'invoice_export',
    metadata jsonb NOT NULL DEFAULT '{}',
    queue text NOT NULL DEFAULT 'default',
    tags varchar(255)[] NOT NULL DEFAULT '{}',
    CONSTRAINT end_has_a_time CHECK ((finalized_at IS NOT NULL) = (state IN ('cancelled', 'completed', 'discarded'))),
    CONSTRAINT priority_in_range CHECK (priority BETWEEN 1 AND 4),
    CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128)
);
CREATE INDEX river_job_fetching ON river_job (state, queue, priority, scheduled_at, id);
INSERT INTO river_job (state, attempt, attempted_at, created_at, finalized_at, attempted_by)
SELECT state::river_job_state, attempt, CASE WHEN attempt > 0 THEN at + interval '1 second' END, at,
       CASE WHEN state IN ('completed', 'discarded') THEN at + interval '40 seconds' END,
       CASE WHEN attempt > 0 THEN ARRAY['api-7'] END
  FROM (SELECT now() - n * interval '13 minutes' AS at, CASE WHEN n <= 3 THEN 0 ELSE 1 END AS attempt,
               CASE WHEN n <= 3 THEN 'available' WHEN n <= 6 THEN 'running' WHEN n = 7 THEN 'retryable' WHEN n % 10 = 0
                    THEN 'discarded' ELSE 'completed' END AS state FROM generate_series(1, 60) AS n) AS job;
