-- updated_at is a trigger's, and a second trigger keeps the history of the statuses.
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text NOT NULL,
    package_size integer NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    last_error text,
    attempts_made integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE job_history (id bigserial PRIMARY KEY, job_id uuid NOT NULL, was text, became text, at timestamptz DEFAULT now());
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.updated_at := now();
    RETURN new;
END $$;
CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job_history (job_id, was, became) VALUES (new.id, old.status, new.status);
    RETURN NULL;
END $$;
INSERT INTO jobs (customer_id, package_size, status, last_error, attempts_made, created_at, updated_at)
SELECT 'reader-' || n % 10, 1, status, CASE status WHEN 'failed' THEN '404' END, (status <> 'pending')::int, at,
       CASE WHEN n = 5 THEN at ELSE at + interval '2 minutes' END
  FROM (SELECT n, now() - n * interval '7 minutes' AS at,
               CASE WHEN n <= 3 THEN 'pending' WHEN n <= 5 THEN 'processing' WHEN n % 8 = 0 THEN 'failed' ELSE 'completed' END
                   AS status FROM generate_series(1, 80) AS n) AS job;
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER keep_history AFTER UPDATE OF status ON jobs
    FOR EACH ROW WHEN (old.status IS DISTINCT FROM new.status) EXECUTE FUNCTION keep_history();
