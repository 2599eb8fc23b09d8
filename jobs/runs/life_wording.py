"""The sentences about how the life of runs is told here: what is promised, what stopped, and what is missing."""

from __future__ import annotations

from jobs.models.columns import JOBS
from jobs.models.worker import stale_after
from jobs.runs.evidence import Evidence
from opsconsole.kit.durations import spell
from opsconsole.kit.mapping import BEATS, JOB_COLUMN, UPDATED_AT, VISIBILITY, WORKER_BEATS, Life


def promise(life: Life | None = None) -> str:
    """Return the promise about living runs, in one sentence; by default, that of this database."""
    life = life or JOBS.life
    if life.told_by == VISIBILITY:
        return (
            "A run is taken no earlier than the visibility timeout of its queue after it began, and only by the rule for unknown "
            "runs."
        )
    since = {
        BEATS: "the last heartbeat that named it",
        WORKER_BEATS: "the last heartbeat of the worker that its row names",
        JOB_COLUMN: f"the last change of its {life.column}",
        UPDATED_AT: "the last change of its row",
    }
    return f"A run is taken no earlier than {spell(stale_after())} after {since[life.told_by]}."


def stopped(run: Evidence) -> str:
    """Say what stopped during a run whose last sign of life is old."""
    if run.claimed_epoch is None and JOBS.life.told_by == JOB_COLUMN:
        return f"Its {JOBS.life.column} has stopped changing."
    if run.claimed_epoch is None and JOBS.life.told_by == UPDATED_AT:
        return "Its row has stopped changing."
    worker = f"worker {run.worker_id}" if run.worker_id else "its worker"
    return f"The heartbeats of {worker} stopped during this run."


def missing(run: Evidence) -> str | None:
    """Say which sign of life a run lacks; None where heartbeats that name jobs tell it."""
    if run.claimed_epoch is not None:
        return None
    of_worker = (
        f"No heartbeat of worker {run.worker_id} came during this run."
        if run.worker_id
        else "Its row names no worker, and heartbeats name no job here."
    )
    return {
        WORKER_BEATS: of_worker,
        JOB_COLUMN: f"Its {JOBS.life.column} holds no time of this run.",
        UPDATED_AT: "Its row holds no time of its last change.",
        VISIBILITY: "Nothing but the visibility timeout of its queue tells of this run.",
    }.get(JOBS.life.told_by)
