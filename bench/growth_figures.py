"""What a console that grew has beside jobs and their events: seals, rollups of runs, dead letters, an alert, an API key.

Their number is bounded by retention or by what a page shows, so that every size has as many, except for the seals, of which there is
one per two thousand events. The hashes of the seals are none: what is measured reads only which events they cover.
"""

from __future__ import annotations

import psycopg

LETTERS, CUSTOMERS, WORKERS = 2_000, 500, 300
QUEUE = "default"
# Events per seal, so that a chunk is counted quickly.
EVENTS = 2_000
# The seal in which a run ended three days ago: at every size it covers the same events.
RECENT_SEAL = """
SELECT number FROM audit_seals
 WHERE (SELECT id FROM job_events WHERE job_id = md5('job 50000')::uuid AND kind = 'completed') BETWEEN first_id AND last_id"""

SEALS = f"""
INSERT INTO audit_seals (number, previous, hash, source, existing, ids, first_id, last_id, row_count, content, sealed_at)
SELECT n, CASE WHEN n = 1 THEN '' ELSE 'hash ' || n - 1 END, 'hash ' || n, 'timeline', false, first_id || '-' || last_id,
       first_id, last_id, {EVENTS}, 'none', (SELECT at FROM job_events WHERE id >= last_id ORDER BY id LIMIT 1)
  FROM (SELECT n, 1 + (n - 1) * {EVENTS} AS first_id, n * {EVENTS} AS last_id
          FROM generate_series(1, (SELECT max(id) FROM job_events) / {EVENTS}) AS n) AS seal
ON CONFLICT DO NOTHING"""
UNSEALED = """
UPDATE audit_unsealed SET first_id = (SELECT max(last_id) + 1 FROM audit_seals) WHERE source = 'timeline' AND last_id IS NULL;
INSERT INTO audit_unsealed (source, first_id)
SELECT 'timeline', max(last_id) + 1 FROM audit_seals
HAVING NOT EXISTS (SELECT FROM audit_unsealed WHERE source = 'timeline' AND last_id IS NULL)"""
# As many values of each dimension as are kept by name, in each rollup that a page shows.
ROLLUPS = f"""
INSERT INTO run_rollups (minutes, start, dimension, value, completed, failed, retried, waits, runs, first_event, last_event)
SELECT minutes, start, dimension, value, minutes, 1 + minutes / 60, 1, histogram, histogram, 1, (SELECT max(id) FROM job_events)
  FROM (VALUES (5, 35), (60, 71), (360, 59), (1440, 61)) AS length (minutes, back)
 CROSS JOIN LATERAL (SELECT to_timestamp((floor(extract(epoch FROM now()) / (60 * minutes)) - n) * 60 * minutes) AS start
                       FROM generate_series(0, back) AS n) AS rollup
 CROSS JOIN (SELECT 'all' AS dimension, '' AS value
             UNION ALL SELECT 'queue', '{QUEUE}'
             UNION ALL SELECT 'priority', unnest(ARRAY['starter', 'growth', 'rare'])
             UNION ALL SELECT 'customer', 'customer-' || n FROM generate_series(1, {CUSTOMERS} - 1) AS n
             UNION ALL SELECT 'customer', '(all others)'
             UNION ALL SELECT 'worker', 'worker-' || n FROM generate_series(1, {WORKERS}) AS n) AS valued
 CROSS JOIN (SELECT jsonb_object_agg(bucket, 7) AS histogram FROM generate_series(60, 110) AS bucket) AS drawn
ON CONFLICT DO NOTHING"""
STATE = """
INSERT INTO run_rollup_state (id, seal, counted_from, counted_until, turned_at)
SELECT 1, max(number), now() - interval '62 days', now(), now() FROM audit_seals
ON CONFLICT (id) DO UPDATE SET seal = excluded.seal, counted_until = now(), turned_at = now()"""
OTHERS = (
    f"""INSERT INTO dead_letters (dlq_id, group_id, message_id, body, body_bytes, state, first_seen_at, sent_at, queue,
                                  job_id)
        SELECT (SELECT min(id) FROM dead_letter_queues), (SELECT min(id) FROM failure_groups) + n % 20, 'm-' || n, '{{}}', 2,
               CASE WHEN n <= 200 THEN 'in_queue' ELSE 'replayed' END, now() - n * interval '2 minutes', now(), '{QUEUE}',
               md5('job ' || n * 100 + 7)::uuid
          FROM generate_series({LETTERS}, 1, -1) AS n""",
    f"INSERT INTO queue_state (name) VALUES ('{QUEUE}') ON CONFLICT DO NOTHING",
)


def fill(connection: psycopg.Connection, *, first: bool) -> None:
    """Seal the events that there are, and fill the rest in, ``first`` or for a database that has grown."""
    connection.execute(SEALS)
    connection.execute(UNSEALED)
    connection.execute(ROLLUPS)
    connection.execute(STATE)
    if first:
        for statement in OTHERS:
            connection.execute(statement)
