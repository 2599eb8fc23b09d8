"""The other layout of ``make bench-layouts``: the console's facts about a job in a table of its own, keyed by the job's id.

Others' table has the columns of the contract only. A view named ``jobs``, first on the search path, joins both tables, so
that everything that the console reads runs unchanged. What it writes is written here for two rows: others' row is locked
first, then a statement with a snapshot of its own reads both, and changes both.

A row exists from a job's first claim to its completion, when the timeline has all of it, and for ever where it names a queue
or holds a payload. With a row per job for ever, PostgreSQL read the whole table for each question about all running jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import psycopg

from jobs.models import Status
from jobs.recovery import rescue, stale_pages
from opsconsole.kit import round_trip, row_locks
from opsconsole.kit.round_trip import Rows
from opsconsole_worker.runs import fence, lifecycle, statements
from opsconsole_worker.runs.restart import new_deadline_in_statement
from opsconsole_worker.runs.worker_ids import TAKEN

# The fillfactor leaves room for the next version of a row on its page: an update of a fact then changes no index.
SPLIT = """
ALTER TABLE public.jobs RENAME TO jobs_before;
CREATE TABLE opsconsole.job_facts (
    job_id uuid NOT NULL, queue text, run_epoch integer NOT NULL DEFAULT 1, claimed_epoch integer,
    recovery_count integer NOT NULL DEFAULT 0, attempts integer NOT NULL DEFAULT 0, not_before timestamptz,
    deadline_at timestamptz, worker_id text, claimed_by_key text, payload jsonb) WITH (fillfactor = 80);
INSERT INTO opsconsole.job_facts
SELECT id, nullif(queue, 'default'), run_epoch, claimed_epoch, recovery_count, attempts, not_before, deadline_at, worker_id,
       claimed_by_key, nullif(payload, '{}')
  FROM jobs_before
 WHERE queue <> 'default' OR payload <> '{}' OR status <> 'completed' AND (
       run_epoch <> 1 OR claimed_epoch IS NOT NULL OR recovery_count <> 0 OR attempts <> 0
       OR not_before IS NOT NULL OR deadline_at IS NOT NULL OR worker_id IS NOT NULL)
 ORDER BY created_at;
ALTER TABLE opsconsole.job_facts ADD PRIMARY KEY (job_id);
CREATE INDEX job_facts_queue_idx ON opsconsole.job_facts (queue) WHERE queue IS NOT NULL;
CREATE TABLE public.jobs (
    id uuid NOT NULL DEFAULT gen_random_uuid(), customer_id text NOT NULL, package_size int NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter', status text NOT NULL DEFAULT 'pending', error_message text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz, completed_at timestamptz);
INSERT INTO public.jobs
SELECT id, customer_id, package_size, priority_level, status, error_message, created_at, updated_at, started_at, completed_at
  FROM jobs_before ORDER BY created_at;
DROP TABLE public.jobs_before CASCADE;
ALTER TABLE public.jobs ADD PRIMARY KEY (id);
CREATE INDEX opsconsole_jobs_running_idx ON public.jobs (updated_at, id) WHERE status = 'in_progress';
CREATE INDEX opsconsole_jobs_waiting_idx ON public.jobs (updated_at, id) WHERE status = 'pending';
CREATE INDEX opsconsole_jobs_newest_idx ON public.jobs (created_at DESC, id DESC);
CREATE INDEX opsconsole_jobs_status_idx ON public.jobs (status, created_at DESC, id DESC);
CREATE INDEX opsconsole_jobs_customer_idx ON public.jobs (customer_id, created_at DESC, id DESC);
CREATE VIEW opsconsole.jobs AS
SELECT job.*, coalesce(facts.queue, 'default') AS queue, coalesce(facts.run_epoch, 1) AS run_epoch, facts.claimed_epoch,
       coalesce(facts.recovery_count, 0) AS recovery_count, coalesce(facts.attempts, 0) AS attempts, facts.not_before,
       facts.deadline_at, facts.worker_id, facts.claimed_by_key, coalesce(facts.payload, '{}') AS payload
  FROM public.jobs AS job LEFT JOIN opsconsole.job_facts AS facts ON facts.job_id = job.id;
"""
# What others' table has where the console may not even create an index.
WITHOUT_INDEXES = """
DROP INDEX public.opsconsole_jobs_running_idx, public.opsconsole_jobs_waiting_idx, public.opsconsole_jobs_newest_idx,
           public.opsconsole_jobs_status_idx, public.opsconsole_jobs_customer_idx
"""


def split(url: str) -> None:
    """Move the console's facts about the jobs of this database into a table of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SPLIT)
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


# --- the sweep ---

# That nobody changed the row since the page was read shows in its own time; the epoch is read again when it is held.
_SAME_EPOCH = " AND job.run_epoch = page.run_epoch"

_WANTED, _REST = rescue._TAKE.split("), taken AS (")[0], rescue._TAKE.split("), told AS (")[1]
_REQUEUE = f"""{_WANTED}), current AS MATERIALIZED (
    SELECT job.id, job.queue, job.run_epoch + 1 AS run_epoch, job.recovery_count + wanted.counted::int AS recovery_count,
           job.attempts, {new_deadline_in_statement("job")} AS deadline_at, wanted.epoch, wanted.counted, wanted.reason,
           wanted.sentence, wanted.worker, wanted.last_seen, wanted.silent_seconds
      FROM wanted JOIN jobs AS job ON job.id = wanted.id
     WHERE job.status = 'in_progress' AND job.run_epoch = wanted.epoch
       AND NOT EXISTS (SELECT FROM ({{beats}}) AS beat WHERE beat.last >= wanted.stale_before)
       AND NOT (wanted.proven AND job.worker_id IN ({{shared}})
                AND EXISTS (SELECT FROM ({{processes}}) AS process WHERE process.last >= wanted.stale_before))
), taken AS (
    UPDATE public.jobs AS job
       SET status = '{Status.PENDING}', started_at = NULL, completed_at = NULL, updated_at = statement_timestamp(),
           error_message = %(message)s
      FROM current
     WHERE job.id = current.id AND job.status = 'in_progress'
    RETURNING current.*
), facts AS (
    INSERT INTO job_facts (job_id, run_epoch, recovery_count, deadline_at)
    SELECT id, run_epoch, recovery_count, deadline_at FROM taken
    ON CONFLICT (job_id) DO UPDATE
       SET run_epoch = excluded.run_epoch, recovery_count = excluded.recovery_count, deadline_at = excluded.deadline_at,
           claimed_epoch = NULL, worker_id = NULL, not_before = NULL
), told AS ({_REST}"""

# --- what workers report ---

_LOCK = f"SELECT FROM public.jobs WHERE id = %(job_id)s {row_locks.in_statement()};"
_MINE, _CLAIM_REST = statements.CLAIM.split("), mine AS (")[1].split("), won AS (")

CLAIM = f"""
{_LOCK}
WITH before AS MATERIALIZED (
    SELECT *, (status <> 'pending')::int AS redriven, {new_deadline_in_statement("jobs")} AS new_deadline FROM jobs
     WHERE id = %(job_id)s AND run_epoch = coalesce(%(epoch)s, run_epoch)
       AND (status = 'pending' AND coalesce(not_before, statement_timestamp()) <= statement_timestamp()
            OR %(redriven)s AND status IN ('failed', 'quarantined'))
       AND NOT {TAKEN}
), theirs AS (
    UPDATE public.jobs AS job
       SET status = 'in_progress', started_at = statement_timestamp(), completed_at = NULL,
           updated_at = statement_timestamp()
      FROM before WHERE job.id = before.id AND job.status = before.status
    RETURNING before.*
), run AS (
    INSERT INTO job_facts AS facts (job_id, run_epoch, claimed_epoch, claimed_by_key, worker_id, recovery_count,
                                    attempts, not_before, deadline_at)
    SELECT id, run_epoch + redriven, run_epoch + redriven, run_epoch + redriven || ':' || %(key)s::text, %(worker)s,
           CASE redriven WHEN 0 THEN recovery_count ELSE 0 END, CASE redriven WHEN 0 THEN attempts ELSE 0 END,
           CASE redriven WHEN 0 THEN not_before END, CASE redriven WHEN 0 THEN deadline_at ELSE new_deadline END
      FROM theirs
    ON CONFLICT (job_id) DO UPDATE
       SET run_epoch = excluded.run_epoch, claimed_epoch = excluded.claimed_epoch,
           claimed_by_key = excluded.claimed_by_key, worker_id = excluded.worker_id,
           recovery_count = excluded.recovery_count, attempts = excluded.attempts,
           not_before = excluded.not_before, deadline_at = excluded.deadline_at
    RETURNING job_id AS id, run_epoch
), mine AS ({_MINE.replace(row_locks.in_statement(), "")}), won AS ({_CLAIM_REST}"""

_THIS_RUN = f"id = %(job_id)s AND status = 'in_progress' AND run_epoch = %(epoch)s AND {fence.in_statement()}"
COMPLETE = f"""
{_LOCK}
WITH ended AS (
    UPDATE public.jobs
       SET status = 'completed', completed_at = statement_timestamp(), updated_at = statement_timestamp(),
           error_message = NULL
     WHERE id = (SELECT id FROM jobs WHERE {_THIS_RUN}) AND status = 'in_progress'
    RETURNING id
), settled AS (
    DELETE FROM job_facts USING ended WHERE job_id = ended.id AND queue IS NULL AND payload IS NULL
), answer AS ({statements.COMPLETE.split("), answer AS (")[1]}"""


@contextmanager
def two_tables() -> Iterator[None]:
    """Let the console's duties write this layout, for the statements that are measured."""
    found, held = stale_pages._PAGE.split("), held AS (")
    assert _SAME_EPOCH in held
    held = held.replace(_SAME_EPOCH, "").replace("FROM {jobs} AS job", "FROM public.jobs AS job")
    with ExitStack() as stack:
        for module, name, statement in (
            (stale_pages, "_PAGE", f"{found}), held AS ({held}"),
            (rescue, "_TAKE", _REQUEUE),
            (statements, "CLAIM", CLAIM),
            (statements, "COMPLETE", COMPLETE),
        ):
            stack.enter_context(mock.patch.object(module, name, statement))
        stack.enter_context(mock.patch.object(lifecycle, "round_trip", SimpleNamespace(run=_run)))
        yield


def _run(statement: str, parameters: Mapping[str, Any]) -> list[Rows]:
    """Run it without the answer to the lock that a claim takes first."""
    answers = round_trip.run(statement, parameters)
    return answers[1:] if statement == CLAIM else answers
