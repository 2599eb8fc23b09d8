-- A Rails application with a queue of its own: locks on the row, times of six digits without a zone.
CREATE TABLE schema_migrations (version varchar PRIMARY KEY);
CREATE TABLE ar_internal_metadata (
    key varchar PRIMARY KEY, value varchar, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL
);
CREATE TABLE accounts (id bigserial PRIMARY KEY, name varchar, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE TABLE background_jobs (
    id bigserial PRIMARY KEY,
    account_id bigint NOT NULL,
    job_class varchar NOT NULL,
    state varchar NOT NULL DEFAULT 'waiting',
    priority integer,
    arguments jsonb NOT NULL DEFAULT '{}',
    locked_at timestamp(6),
    locked_by varchar,
    started_at timestamp(6),
    finished_at timestamp(6),
    last_error text,
    created_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL,
    CONSTRAINT fk_rails_2f0a1 FOREIGN KEY (account_id) REFERENCES accounts (id)
);
CREATE INDEX index_background_jobs_on_state ON background_jobs (state);
INSERT INTO schema_migrations VALUES ('20260114093012');
INSERT INTO accounts (name, created_at, updated_at) SELECT 'Account ' || n, now(), now() FROM generate_series(1, 5) AS n;
INSERT INTO background_jobs (account_id, job_class, state, priority, locked_at, locked_by, started_at, finished_at, last_error,
                             created_at, updated_at)
SELECT 1 + n % 5, 'InvoiceExport', state, n % 3, CASE WHEN state IN ('locked', 'started') THEN at + interval '1 second' END,
       CASE WHEN state IN ('locked', 'started') THEN 'web-3 pid:811' END,
       CASE WHEN state NOT IN ('waiting', 'locked') THEN at + interval '2 seconds' END,
       CASE WHEN state IN ('succeeded', 'failed') THEN at + interval '50 seconds' END,
       CASE state WHEN 'failed' THEN 'Net::ReadTimeout' END, at, at + interval '50 seconds'
  FROM (SELECT n, (now() AT TIME ZONE 'UTC') - n * interval '19 minutes' AS at,
               CASE WHEN n <= 4 THEN 'waiting' WHEN n = 5 THEN 'locked' WHEN n <= 8 THEN 'started' WHEN n % 10 = 0 THEN 'failed'
                    ELSE 'succeeded' END AS state FROM generate_series(1, 80) AS n) AS job;
