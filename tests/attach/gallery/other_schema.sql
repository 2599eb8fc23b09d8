-- A service written in TypeScript (TypeORM): schema and tables with capitals, and exclusion constraints.
CREATE SCHEMA "JobManager";
CREATE TYPE "JobManager"."OperationStatus" AS ENUM
    ('Pending', 'In-Progress', 'Completed', 'Failed', 'Expired', 'Aborted', 'Suspended');
CREATE TABLE "JobManager"."Job" (
    "id" uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "resourceId" varchar(300) NOT NULL,
    "version" varchar(30) NOT NULL,
    "type" varchar(255) NOT NULL,
    "description" varchar(2000) NOT NULL DEFAULT '',
    "parameters" jsonb NOT NULL,
    "creationTime" timestamptz NOT NULL DEFAULT now(),
    "updateTime" timestamptz NOT NULL DEFAULT now(),
    "status" "JobManager"."OperationStatus" NOT NULL DEFAULT 'Pending',
    "percentage" smallint,
    "reason" text NOT NULL DEFAULT '',
    "isCleaned" boolean NOT NULL DEFAULT false,
    "priority" integer NOT NULL DEFAULT 1000,
    "additionalIdentifiers" varchar(255),
    "taskCount" integer NOT NULL DEFAULT 0,
    "completedTasks" integer NOT NULL DEFAULT 0,
    "failedTasks" integer NOT NULL DEFAULT 0,
    "inProgressTasks" integer NOT NULL DEFAULT 0,
    EXCLUDE ("resourceId" WITH =, "version" WITH =, "type" WITH =, "additionalIdentifiers" WITH =)
        WHERE ("status" IN ('Pending', 'In-Progress', 'Suspended')),
    EXCLUDE ("resourceId" WITH =, "version" WITH =, "type" WITH =)
        WHERE ("status" IN ('Pending', 'In-Progress', 'Suspended') AND "additionalIdentifiers" IS NULL)
);
CREATE TABLE "JobManager"."Task" (
    "id" uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "jobId" uuid NOT NULL REFERENCES "JobManager"."Job" ("id"),
    "type" varchar(255) NOT NULL,
    "parameters" jsonb NOT NULL,
    "creationTime" timestamptz NOT NULL DEFAULT now(),
    "updateTime" timestamptz NOT NULL DEFAULT now(),
    "status" "JobManager"."OperationStatus" NOT NULL DEFAULT 'Pending',
    "reason" text NOT NULL DEFAULT '',
    "attempts" integer NOT NULL DEFAULT 0
);
CREATE FUNCTION "JobManager".count_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE "JobManager"."Job" SET "taskCount" = (SELECT count(*) FROM "JobManager"."Task" WHERE "jobId" = new."jobId")
     WHERE "id" = new."jobId";
    RETURN NULL;
END $$;
CREATE TRIGGER count_tasks AFTER INSERT OR UPDATE ON "JobManager"."Task"
    FOR EACH ROW EXECUTE FUNCTION "JobManager".count_tasks();
INSERT INTO "JobManager"."Job" ("resourceId", "version", "type", "parameters", "status", "reason", "creationTime", "updateTime")
SELECT 'layer-' || n, '1.' || n % 3, CASE n % 2 WHEN 0 THEN 'Ingestion_New' ELSE 'Export' END, '{"zoom": 14}',
       (CASE WHEN n <= 3 THEN 'Pending' WHEN n <= 7 THEN 'In-Progress' WHEN n % 11 = 0 THEN 'Failed'
             WHEN n % 13 = 0 THEN 'Expired' WHEN n % 19 = 0 THEN 'Aborted' WHEN n % 23 = 0 THEN 'Suspended'
             ELSE 'Completed' END)::"JobManager"."OperationStatus",
       CASE WHEN n % 11 = 0 AND n > 7 THEN 'the source has no index' ELSE '' END,
       now() - n * interval '31 minutes', now() - n * interval '31 minutes' + interval '12 minutes'
  FROM generate_series(1, 90) AS n;
INSERT INTO "JobManager"."Task" ("jobId", "type", "parameters", "status", "attempts")
SELECT "id", 'tilesMerging', '{}', "status", 1 FROM "JobManager"."Job";
