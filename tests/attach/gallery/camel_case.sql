-- A Sequelize model: table and columns quoted, a primary key called jobId, an enum in small letters.
CREATE TYPE "enum_Jobs_status" AS ENUM ('queued', 'scheduled', 'running', 'done', 'failed', 'error');
CREATE TABLE "Jobs" (
    "jobId" uuid PRIMARY KEY,
    "customerId" integer NOT NULL,
    "packageSize" integer NOT NULL,
    "priorityLevel" varchar(255) NOT NULL DEFAULT 'starter',
    "status" "enum_Jobs_status" NOT NULL DEFAULT 'queued',
    "errorMessage" varchar(255),
    "createdAt" timestamptz NOT NULL,
    "updatedAt" timestamptz NOT NULL,
    "startedAt" timestamptz,
    "completedAt" timestamptz
);
CREATE TABLE "WorkerHeartbeats" ("workerId" varchar(255) PRIMARY KEY, "currentJobId" uuid, "lastHeartbeat" timestamptz NOT NULL);
CREATE TABLE "SequelizeMeta" (name varchar(255) PRIMARY KEY);
INSERT INTO "Jobs" ("jobId", "customerId", "packageSize", "status", "errorMessage", "createdAt", "updatedAt",
                    "startedAt", "completedAt")
SELECT gen_random_uuid(), n % 13, 50, status::"enum_Jobs_status", CASE WHEN status IN ('failed', 'error') THEN 'ECONNRESET' END,
       at, at + interval '6 minutes', CASE WHEN status NOT IN ('queued', 'scheduled') THEN at END,
       CASE status WHEN 'done' THEN at + interval '6 minutes' END
  FROM (SELECT n, now() - n * interval '18 minutes' AS at,
               CASE WHEN n <= 3 THEN 'queued' WHEN n = 4 THEN 'scheduled' WHEN n <= 8 THEN 'running' WHEN n % 10 = 0 THEN 'failed'
                    WHEN n % 17 = 0 THEN 'error' ELSE 'done' END AS status FROM generate_series(1, 80) AS n) AS job;
INSERT INTO "WorkerHeartbeats" SELECT 'worker-' || row_number() OVER (), "jobId", now() FROM "Jobs" WHERE "status" = 'running';
