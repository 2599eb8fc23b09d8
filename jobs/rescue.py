"""The one statement that takes stale runs from their workers: row, timeline and outbox together (I2, I3).

It reads the heartbeats itself, on the snapshot of its own start: whoever beat after the page was locked is
left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection
from psycopg import Cursor

from jobs.columns import column
from jobs.models import JobEvent, Outbox
from jobs.outbox import STALE_JOB_RECOVERY
from jobs.timeline import SWEEP

if TYPE_CHECKING:
    from jobs.decision import Decision

RECOVERED_MESSAGE = "Recovered from stale state (no worker heartbeat)"
QUARANTINED_MESSAGE = "Quarantined: its runs kept losing their worker"

_TAKE = """
WITH wanted AS (
    SELECT * FROM unnest(%(ids)b::uuid[], %(epochs)b::int[], %(stale_before)b::timestamptz[], %(counted)b::int[],
                         %(sentences)b::text[], %(details)b::text[])
                  AS wanted (id, epoch, stale_before, counted, sentence, details)
), taken AS (
    UPDATE jobs AS job
       SET {changes}, error_message = %(message)s, updated_at = now()
      FROM wanted
     WHERE job.id = wanted.id AND job.status = 'in_progress' AND job.run_epoch = wanted.epoch
       AND NOT EXISTS (
           SELECT FROM worker_heartbeats AS beat
            WHERE beat.current_job_id = job.id
              AND (beat.current_run_epoch = job.run_epoch
                   OR beat.current_run_epoch IS NULL AND job.claimed_epoch IS NULL)
              AND beat."{last_heartbeat}" >= wanted.stale_before)
    RETURNING job.id, job.run_epoch, job.queue, wanted.epoch, wanted.sentence, wanted.details
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT id, epoch, %(kind)s, %(actor)s, sentence, details::jsonb || jsonb_build_object('epoch_now', run_epoch)
      FROM taken
), posted AS (
    INSERT INTO outbox (job_id, run_epoch, queue, destination, reason, retry)
    SELECT id, run_epoch, queue, %(destination)s, {outbox_reason}, true FROM taken
    ON CONFLICT (job_id, run_epoch, destination) DO NOTHING
)
SELECT id FROM taken
"""

_WAIT_AGAIN = """
    status = 'pending', run_epoch = job.run_epoch + 1, claimed_epoch = NULL, worker_id = NULL,
    started_at = NULL, completed_at = NULL, not_before = NULL,
    recovery_count = job.recovery_count + wanted.counted"""


def requeue(decisions: Sequence[Decision]) -> set[UUID]:
    """Start these runs again; returns the jobs that were taken, without those whose worker proved alive."""
    return _take(
        decisions,
        changes=_WAIT_AGAIN,
        message=RECOVERED_MESSAGE,
        kind=JobEvent.Kind.RECOVERED,
        destination=Outbox.Destination.QUEUE,
        outbox_reason=f"'{STALE_JOB_RECOVERY}'",
    )


def quarantine(decisions: Sequence[Decision]) -> set[UUID]:
    """Set these jobs aside for an operator, with a dead letter as the sign outside (I5)."""
    return _take(
        decisions,
        changes="status = 'quarantined'",
        message=QUARANTINED_MESSAGE,
        kind=JobEvent.Kind.QUARANTINED,
        destination=Outbox.Destination.DLQ,
        outbox_reason="left(sentence, 500)",
    )


def _take(
    decisions: Sequence[Decision],
    *,
    changes: str,
    message: str,
    kind: JobEvent.Kind,
    destination: Outbox.Destination,
    outbox_reason: str,
) -> set[UUID]:
    last_heartbeat = column("worker_heartbeats.last_heartbeat")
    statement = _TAKE.format(changes=changes, last_heartbeat=last_heartbeat, outbox_reason=outbox_reason)
    # Lists go to the server as they are, in binary; quoted into the statement they would take ten times as long.
    connection.ensure_connection()
    binding_on_the_server: Any = Cursor(connection.connection)
    with connection.make_cursor(binding_on_the_server) as cursor:
        cursor.execute(
            statement,
            {
                "ids": [decision.job_id for decision in decisions],
                "epochs": [decision.epoch for decision in decisions],
                "stale_before": [decision.stale_before for decision in decisions],
                "counted": [int(decision.counted) for decision in decisions],
                "sentences": [decision.sentence for decision in decisions],
                "details": [json.dumps(decision.details) for decision in decisions],
                "message": message,
                "kind": kind.value,
                "actor": SWEEP.name,
                "destination": destination.value,
            },
        )
        return {row[0] for row in cursor.fetchall()}
