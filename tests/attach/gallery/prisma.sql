-- A Prisma schema: quoted names, an enum, text ids that the application makes, a NOT NULL time without a default.
CREATE TYPE "JobStatus" AS ENUM ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED');
CREATE TABLE "Document" ("id" TEXT NOT NULL, "title" TEXT NOT NULL, CONSTRAINT "Document_pkey" PRIMARY KEY ("id"));
CREATE TABLE "BackgroundJob" (
    "id" TEXT NOT NULL,
    "status" "JobStatus" NOT NULL DEFAULT 'PENDING',
    "name" TEXT NOT NULL,
    "jobId" TEXT NOT NULL,
    "version" TEXT NOT NULL,
    "payload" JSONB,
    "attempts" INTEGER NOT NULL DEFAULT 0,
    "maxAttempts" INTEGER NOT NULL DEFAULT 3,
    "lastError" TEXT,
    "lockedAt" TIMESTAMP(3),
    "lockedBy" TEXT,
    "submittedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    "completedAt" TIMESTAMP(3),
    CONSTRAINT "BackgroundJob_pkey" PRIMARY KEY ("id")
);
CREATE TABLE "BackgroundJobTask" (
    "id" TEXT NOT NULL,
    "jobId" TEXT NOT NULL,
    "result" JSONB,
    CONSTRAINT "BackgroundJobTask_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "BackgroundJobTask_jobId_fkey" FOREIGN KEY ("jobId") REFERENCES "BackgroundJob" ("id") ON DELETE CASCADE
);
CREATE TABLE "_prisma_migrations" (
    "id" VARCHAR(36) PRIMARY KEY, "checksum" VARCHAR(64) NOT NULL, "finished_at" TIMESTAMPTZ, "started_at" TIMESTAMPTZ
);
INSERT INTO "Document" SELECT 'doc_' || n, 'Lease ' || n FROM generate_series(1, 20) AS n;
INSERT INTO "BackgroundJob" ("id", "status", "name", "jobId", "version", "payload", "attempts", "lastError", "lockedAt", "lockedBy",
                             "submittedAt", "updatedAt", "completedAt")
SELECT 'cm' || left(md5('job ' || n), 23), status::"JobStatus", 'Seal Document', 'internal.seal-document', '1.0.0',
       jsonb_build_object('documentId', n), (status <> 'PENDING')::int, CASE status WHEN 'FAILED' THEN 'The PDF is encrypted' END,
       CASE status WHEN 'PROCESSING' THEN at + interval '2 seconds' END, CASE status WHEN 'PROCESSING' THEN 'app-1:4411' END,
       at, at + interval '1 minute', CASE status WHEN 'COMPLETED' THEN at + interval '1 minute' END
  FROM (SELECT n, (now() AT TIME ZONE 'UTC') - n * interval '23 minutes' AS at,
               CASE WHEN n <= 3 THEN 'PENDING' WHEN n <= 6 THEN 'PROCESSING' WHEN n % 12 = 0 THEN 'FAILED' ELSE 'COMPLETED' END
                   AS status FROM generate_series(1, 70) AS n) AS job;
