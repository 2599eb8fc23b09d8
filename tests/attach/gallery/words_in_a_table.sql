-- Beside SQS, without any beat: the words have spaces, and a foreign key accepts no others.
CREATE TABLE job_status (name varchar PRIMARY KEY);
INSERT INTO job_status VALUES
    ('pending'), ('in progress'), ('finished'), ('sending limits exceeded'), ('scheduled'), ('cancelled'), ('error');
CREATE TABLE services (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar NOT NULL UNIQUE);
CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    original_file_name varchar NOT NULL,
    service_id uuid NOT NULL REFERENCES services,
    notification_count integer NOT NULL,
    job_status varchar(255) NOT NULL REFERENCES job_status (name),
    archived boolean NOT NULL DEFAULT false,
    created_at timestamp NOT NULL,
    updated_at timestamp,
    scheduled_for timestamp,
    processing_started timestamp,
    processing_finished timestamp
);
INSERT INTO services (name) SELECT 'Service ' || n FROM generate_series(1, 6) AS n;
INSERT INTO jobs (id, original_file_name, service_id, notification_count, job_status, created_at, updated_at, processing_started,
                  processing_finished)
SELECT gen_random_uuid(), 'letters-' || n || '.csv', (SELECT id FROM services ORDER BY name OFFSET n % 6 LIMIT 1), n * 10, word, at,
       CASE WHEN word <> 'pending' THEN at + interval '1 minute' END,
       CASE WHEN word IN ('in progress', 'finished', 'error') THEN at + interval '10 seconds' END,
       CASE word WHEN 'finished' THEN at + interval '3 minutes' END
  FROM (SELECT n, (now() AT TIME ZONE 'UTC') - n * interval '26 minutes' AS at,
               CASE WHEN n <= 2 THEN 'pending' WHEN n <= 5 THEN 'in progress' WHEN n = 6 THEN 'scheduled' WHEN n % 11 = 0 THEN 'error'
                    WHEN n % 25 = 0 THEN 'cancelled' WHEN n % 29 = 0 THEN 'sending limits exceeded' ELSE 'finished' END AS word
          FROM generate_series(1, 90) AS n) AS job;
