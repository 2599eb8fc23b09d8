"""Statement two of a recovery: take stale runs from their workers, writing row, timeline and outbox together (I2, I3).

It reads the heartbeats itself, on a snapshot from its own start: workers that send a heartbeat after the page was
locked keep their runs.
"""
# ruff: noqa: S608 - only names and pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from jobs.messaging.outbox import STALE_JOB_RECOVERY
from jobs.models import JobEvent, Outbox, Status, WorkerHeartbeat, row_beat
from jobs.models.columns import JOBS
from jobs.models.worker_observation import SHARED_IN_STATEMENT, CountedBeat
from jobs.runs import timeline
from jobs.runs.timeline import SWEEP
from opsconsole.kit.changed_rows import require_changed
from opsconsole.kit.postgresql.binary_values import binary_cursor
from opsconsole_worker.messages import REASON_LENGTH
from opsconsole_worker.runs.restart import restart_in_statement

if TYPE_CHECKING:
    from jobs.recovery.decision import Decision

RECOVERED_MESSAGE = "Recovered from stale state (no worker heartbeat)"
QUARANTINED_MESSAGE = "Quarantined: its runs kept losing their worker"

# The list of ids keeps PostgreSQL to a look by primary key per run, also where it would rather read all that are running: once per
# page, and there may be twenty pages.
_WANTED = """wanted AS (
    SELECT * FROM unnest(%(ids)b::{id_type}[], %(epochs)b::int[], %(stale_before)b::timestamptz[], %(counted)b::bool[],
                         %(reasons)b::text[], %(sentences)b::text[], %(workers)b::text[],
                         %(last_seen)b::timestamptz[], %(silent_seconds)b::float8[], %(proven)b::bool[])
                  AS wanted (id, epoch, stale_before, counted, reason, sentence, worker, last_seen, silent_seconds, proven)
)"""
_STILL_STALE = """
     WHERE {job_id} = wanted.id AND {job_id} = ANY (ARRAY(SELECT id FROM wanted))
       AND {is_running} AND job.run_epoch = wanted.epoch
       AND NOT EXISTS (SELECT FROM ({beats}) AS beat WHERE beat.last >= wanted.stale_before){row_is_silent}
       AND NOT (wanted.proven AND {worker} IN ({shared})
                AND EXISTS (SELECT FROM ({processes}) AS process WHERE process.last >= wanted.stale_before))
"""
_TAKE = f"""
WITH {_WANTED}, taken AS (
    UPDATE {{jobs}} AS job
       SET {{changes}}{{error_message}}
      FROM wanted{_STILL_STALE}    RETURNING {{returned_id}}, job.run_epoch, {{queue}}, wanted.epoch, wanted.counted, wanted.reason,
              wanted.sentence, wanted.worker, wanted.last_seen, wanted.silent_seconds
), told AS (
    INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
    SELECT id, epoch, %(kind)s, %(actor)s, sentence,
           jsonb_build_object('why', reason, 'worker', worker, 'last_seen', last_seen,
                              'silent_seconds', silent_seconds, 'counted', counted, 'epoch_now', run_epoch)
      FROM taken
), posted AS (
    INSERT INTO outbox (job_id, run_epoch, queue, destination, dead_letter_id, reason, retry)
    SELECT id, run_epoch, queue, {{letter}}, true FROM taken
    ON CONFLICT (job_id, run_epoch, destination) DO NOTHING
)
SELECT id FROM wanted EXCEPT SELECT id FROM taken
"""
# What was left alone and is still stale, a moment later and in the same transaction, was kept from being changed.
_KEPT = f"WITH {_WANTED} SELECT 1 FROM wanted, {{jobs}} AS job{_STILL_STALE} LIMIT 1"


def requeue(decisions: Sequence[Decision]) -> set[UUID]:
    """Requeue these runs; return the jobs that were left alone because their worker proved to be alive."""
    return _take(
        decisions,
        changes=f"{restart_in_statement('job')}, recovery_count = job.recovery_count + wanted.counted::int",
        message=RECOVERED_MESSAGE,
        kind=JobEvent.Kind.RECOVERED,
        letter=f"'{Outbox.Destination.QUEUE}', NULL::uuid, '{STALE_JOB_RECOVERY}'",
    )


def quarantine(decisions: Sequence[Decision]) -> set[UUID]:
    """Quarantine these jobs for an operator, with a dead letter as the sign outside (I5); return those left alone."""
    return _take(
        decisions,
        changes=JOBS.assignments(
            status=JOBS.status_written(Status.QUARANTINED), updated_at="statement_timestamp()"
        ),
        message=QUARANTINED_MESSAGE,
        kind=JobEvent.Kind.QUARANTINED,
        letter=f"'{Outbox.Destination.DLQ}', gen_random_uuid(), left(sentence, {REASON_LENGTH})",
    )


def _names() -> dict[str, str]:
    """Return the names and conditions of both statements."""
    return {
        "jobs": JOBS.sql,
        "id_type": JOBS.id_type,
        "job_id": JOBS.sql_column("id", "job"),
        "is_running": JOBS.is_status(Status.IN_PROGRESS, of="job"),
        "error_message": f", {assignment}"
        if (assignment := JOBS.assignments(error_message="%(message)s"))
        else "",
        "returned_id": JOBS.returned("id", "job"),
        "queue": JOBS.returned("queue", "job"),
        "worker": JOBS.read("worker_id", "job"),
        "row_is_silent": _row_is_silent(),
        "shared": SHARED_IN_STATEMENT,
        **_beats(),
    }


def _given(decisions: Sequence[Decision]) -> dict[str, list[Any]]:
    """Return the values of both statements, each a list with one of each decision."""
    return {
        "ids": [decision.run.pk for decision in decisions],
        "epochs": [decision.run.run_epoch for decision in decisions],
        "stale_before": [decision.run.stale_before for decision in decisions],
        "counted": [decision.counted for decision in decisions],
        "reasons": [decision.reason for decision in decisions],
        "sentences": [decision.sentence for decision in decisions],
        "workers": [decision.run.worker_id for decision in decisions],
        "last_seen": [decision.last_seen for decision in decisions],
        "silent_seconds": [round(decision.silent_for.total_seconds(), 1) for decision in decisions],
        "proven": [decision.run.death_proven for decision in decisions],
    }


@cache
def _beats() -> dict[str, str]:
    """Return the queries for heartbeats that count for ``job``, and for those of processes that named it."""
    beats = WorkerHeartbeat.objects.of_run_in_statement("job").values(last=CountedBeat())
    processes = WorkerHeartbeat.objects.last_of_processes_in_statement("job")
    # Without parameters.
    return {
        name: rows.query.sql_with_params()[0] for name, rows in [("beats", beats), ("processes", processes)]
    }


def _row_is_silent() -> str:
    told_at = row_beat.in_statement("job")
    return f" AND coalesce({told_at} < wanted.stale_before, true)" if told_at else ""


def _take(
    decisions: Sequence[Decision], *, changes: str, message: str, kind: JobEvent.Kind, letter: str
) -> set[UUID]:
    names = _names() | {"changes": changes, "letter": letter}
    given = _given(decisions) | {"message": message, "kind": kind.value, "actor": SWEEP.name}
    with binary_cursor() as cursor:
        cursor.execute(_TAKE.format(**names), given)
        left_alone = {row[0] for row in cursor.fetchall()}
        if left_alone:
            cursor.execute(_KEPT.format(**names), given)
            require_changed(0, len(cursor.fetchall()), JOBS.name)
    timeline.log_each(
        kind,
        [
            {
                "job": decision.run.pk,
                "run": decision.run.run_epoch,
                "worker": decision.run.worker_id or None,
                "why": decision.reason,
            }
            for decision in decisions
            if decision.run.pk not in left_alone
        ],
    )
    return left_alone
