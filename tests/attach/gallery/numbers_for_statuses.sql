-- A build system: numbers for the states, whose meaning is in its code only.
CREATE TABLE host (id serial PRIMARY KEY, name varchar(128) NOT NULL UNIQUE, task_load double precision);
CREATE TABLE task (
    id serial PRIMARY KEY,
    state integer,
    create_time timestamp DEFAULT now(),
    start_time timestamp,
    completion_time timestamp,
    host_id integer REFERENCES host,
    parent integer REFERENCES task,
    label varchar(255),
    method text,
    request text,
    result text,
    priority integer DEFAULT 20,
    UNIQUE (parent, label)
);
INSERT INTO host (name) SELECT 'builder-' || n FROM generate_series(1, 3) AS n;
INSERT INTO task (state, create_time, start_time, completion_time, host_id, method, label)
SELECT state, at, CASE WHEN state <> 0 THEN at END, CASE WHEN state IN (2, 3, 5) THEN at + interval '9 minutes' END,
       CASE WHEN state <> 0 THEN 1 + n % 3 END, 'buildArch', 'x86_64-' || n
  FROM (SELECT n, now()::timestamp - n * interval '10 minutes' AS at,
               CASE WHEN n <= 3 THEN 0 WHEN n <= 6 THEN 1 WHEN n = 7 THEN 4 WHEN n % 12 = 0 THEN 5 WHEN n % 17 = 0 THEN 3 ELSE 2 END
                   AS state FROM generate_series(1, 80) AS n) AS each;
