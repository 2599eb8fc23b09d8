"""The baseline: one query with a LEFT JOIN, then one message and one UPDATE per run."""

from __future__ import annotations

import json
import time

import psycopg

from bench.shape import LIVE_BEAT, STALE_BEAT, Shape
from bench.stub_sqs import StubSqs
from opsconsole_worker import sqs

SCHEMA = """
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer_id text NOT NULL, package_size int NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter', status text NOT NULL DEFAULT 'pending', error_message text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz, completed_at timestamptz);
CREATE TABLE worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL);
"""
INDEX = "CREATE INDEX ON jobs (status)"
FIND = """
SELECT jobs.id, jobs.customer_id, jobs.package_size, jobs.priority_level
  FROM jobs LEFT JOIN worker_heartbeats ON worker_heartbeats.current_job_id = jobs.id
 WHERE jobs.status = 'in_progress'
   AND (worker_heartbeats.last_heartbeat IS NULL
        OR worker_heartbeats.last_heartbeat < now() - interval '10 minutes')
"""
UPDATE = """
UPDATE jobs SET status = 'pending', started_at = NULL, updated_at = now(),
                error_message = 'Recovered from stale state (no worker heartbeat)'
 WHERE id = %s
"""


def build(url: str, shape: Shape) -> None:
    """Create the contract's two tables, with primary keys and an index on the status."""
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA)
        connection.execute(jobs_of(shape))
        connection.execute(heartbeats_of(shape))
        connection.execute(INDEX)


def jobs_of(shape: Shape, extra_columns: str = "", extra_values: str = "") -> str:
    return f"""
        INSERT INTO jobs (id, customer_id, package_size, status, created_at, updated_at, started_at, completed_at
                          {extra_columns})
        SELECT md5('job ' || n)::uuid, 'customer-' || n % 5000, 50,
               CASE WHEN running THEN 'in_progress' ELSE 'completed' END,
               at, at, at, CASE WHEN NOT running THEN at END {extra_values}
          FROM {shape.numbered()} ORDER BY n"""


def heartbeats_of(shape: Shape, extra_columns: str = "", extra_values: str = "") -> str:
    return f"""
        INSERT INTO worker_heartbeats (worker_id, current_job_id, last_heartbeat {extra_columns})
        SELECT 'worker-' || n, md5('job ' || n)::uuid, CASE WHEN stale THEN {STALE_BEAT} ELSE {LIVE_BEAT} END
               {extra_values}
          FROM {shape.numbered()} WHERE running ORDER BY n"""


def recover(url: str, stub: StubSqs) -> dict[str, float]:
    """Recover all stale runs; return the seconds of each part."""
    client = sqs.client_for(stub.queue_url)
    spent = {"find": 0.0, "write": 0.0, "send": 0.0}
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        stale = connection.execute(FIND).fetchall()
        spent["find"] = time.perf_counter() - began
        for job_id, customer_id, package_size, priority in stale:
            body = {
                "job_id": str(job_id),
                "customer_id": customer_id,
                "package_size": package_size,
                "priority": priority,
                "retry": True,
                "reason": "stale_job_recovery",
            }
            before = time.perf_counter()
            client.send_message(QueueUrl=stub.queue_url, MessageBody=json.dumps(body))
            sent = time.perf_counter()
            connection.execute(UPDATE, [job_id])
            spent["send"] += sent - before
            spent["write"] += time.perf_counter() - sent
        spent["total"] = time.perf_counter() - began
    return spent
