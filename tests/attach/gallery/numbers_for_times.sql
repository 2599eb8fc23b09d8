-- A chat server (Go): milliseconds in bigint columns, 0 for never, and hardly any constraint.
CREATE TABLE jobs (
    id varchar(26) PRIMARY KEY,
    type varchar(32),
    priority bigint,
    createat bigint,
    startat bigint,
    lastactivityat bigint,
    status varchar(32),
    progress bigint,
    data varchar(1024)
);
CREATE INDEX idx_jobs_type ON jobs (type);
CREATE INDEX idx_jobs_status_type ON jobs (status, type);
CREATE TABLE users (id varchar(26) PRIMARY KEY, createat bigint, username varchar(64));
INSERT INTO jobs (id, type, priority, createat, startat, lastactivityat, status, progress, data)
SELECT left(md5('job ' || n) || 'abcdefgh', 26), CASE n % 3 WHEN 0 THEN 'message_export' ELSE 'data_retention' END, 0, at,
       CASE WHEN status = 'pending' THEN 0 ELSE at + 900 END,
       CASE WHEN n = 5 THEN at + 60000 WHEN status = 'pending' THEN 0 ELSE at + 240000 END,
       status, CASE status WHEN 'success' THEN 100 ELSE 0 END, '{}'
  FROM (SELECT n, (extract(epoch FROM now() - n * interval '13 minutes') * 1000)::bigint AS at,
               CASE WHEN n <= 2 THEN 'pending' WHEN n <= 5 THEN 'in_progress' WHEN n % 10 = 0 THEN 'error'
                    WHEN n % 14 = 0 THEN 'canceled' WHEN n = 6 THEN 'cancel_requested' WHEN n % 33 = 0 THEN 'warning'
                    ELSE 'success' END AS status FROM generate_series(1, 100) AS n) AS job;
