-- A job board: its jobs are vacancies, and its applications have a status, but nothing runs.
CREATE TABLE employers (id serial PRIMARY KEY, name text NOT NULL, website text);
CREATE TABLE jobs (
    id serial PRIMARY KEY,
    employer_id integer NOT NULL REFERENCES employers,
    title text NOT NULL,
    salary_from integer,
    salary_to integer,
    location text NOT NULL,
    status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'published', 'expired', 'filled')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE TABLE applications (
    id serial PRIMARY KEY,
    job_id integer NOT NULL REFERENCES jobs ON DELETE CASCADE,
    applicant text NOT NULL,
    status text NOT NULL DEFAULT 'received',
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO employers (name) SELECT 'Employer ' || n FROM generate_series(1, 8) AS n;
INSERT INTO jobs (employer_id, title, salary_from, salary_to, location, status, created_at, updated_at, expires_at)
SELECT 1 + n % 8, (ARRAY['Baker', 'Electrician', 'Nurse', 'Lorry driver'])[1 + n % 4], 28000, 41000, 'Leeds',
       (ARRAY['draft', 'published', 'published', 'expired', 'filled'])[1 + n % 5], now() - n * interval '1 day', now(),
       now() + interval '20 days' FROM generate_series(1, 60) AS n;
INSERT INTO applications (job_id, applicant, status)
SELECT 1 + n % 60, 'Applicant ' || n, (ARRAY['received', 'invited', 'rejected'])[1 + n % 3] FROM generate_series(1, 90) AS n;
