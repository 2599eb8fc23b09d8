"""Heartbeats: one row per worker, overwritten by each heartbeat."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from opsconsole_worker import settings
from opsconsole_worker.database import door
from opsconsole_worker.database.door import Rows
from opsconsole_worker.mapping.contract_words import CANCELLED, IN_PROGRESS
from opsconsole_worker.runs import beat_statements, run_log
from opsconsole_worker.runs.tables import HEARTBEATS
from opsconsole_worker.runs.worker_ids import WorkerIdTaken

PROTOCOL = {"protocol": 1}


def actor_name(worker_id: str) -> str:
    """Return how the timeline names a worker."""
    return f"worker:{worker_id}"


@dataclass(frozen=True)
class Worker:
    """A worker or worker slot. Its id is new for every start, so that a restart never hides a dead run.

    ``start`` is a text that is new for every start, for workers whose id stays the same.
    ``key``: the API key by which it reports, or the first of those that this one succeeds; '' for a worker that has
    the database itself.
    """

    id: str
    hostname: str | None = field(default_factory=socket.gethostname)
    pid: int | None = field(default_factory=os.getpid)
    start: str | None = None
    key: str = ""

    @property
    def process(self) -> str:
        """Name the process that sends the heartbeats; '' when it does not say which it is."""
        by_host = f"{self.hostname} {self.pid}" if self.hostname and self.pid else ""
        return self.start or by_host

    @property
    def parameters(self) -> dict[str, Any]:
        """Return what the statements of ``beat_statements`` and ``statements`` read of a worker."""
        described = {
            "worker": self.id,
            "hostname": self.hostname,
            "pid": self.pid,
            "process": self.process,
            "key": self.key,
            "lives": settings.current().stale_after,
        }
        protocol = json.dumps(PROTOCOL | {"key": self.key})
        return described | {"protocol": protocol, "actor": actor_name(self.id)}


class Verdict(StrEnum):
    """The answer to a heartbeat: whether the run still counts."""

    GO_ON = "go_on"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


def say(worker: Worker, job_id: UUID | None = None, run_epoch: int | None = None) -> None:
    """Write the worker's row: alive, and running this run or nothing. Raise ``WorkerIdTaken`` if the id is another key's."""
    if job_id is None:
        [[(taken, written)]] = door.run(beat_statements.IDLE_BEAT, worker.parameters)
        _refuse_if(taken)
        run_log.note_heartbeat(worker.id, HEARTBEATS.name, written=written)
    else:
        _beat(worker, job_id, run_epoch)


def beat(worker: Worker, job_id: UUID, run_epoch: int) -> Verdict:
    """Record that the run is alive, and return whether it should continue. The heartbeat of a superseded run does not count.

    Raise ``WorkerIdTaken`` if the worker's id is another key's.
    """
    usual = {"job_id": job_id, "epoch": run_epoch} | worker.parameters
    seen = door.run_often(beat_statements.USUAL_BEAT, usual)
    return Verdict.GO_ON if seen else whole_beat(worker, job_id, run_epoch)


def whole_beat(worker: Worker, job_id: UUID, run_epoch: int) -> Verdict:
    """Do what ``beat`` does, whatever the worker's row says."""
    return _verdict(_beat(worker, job_id, run_epoch))


def _beat(worker: Worker, job_id: UUID, run_epoch: int | None) -> Rows:
    [rows] = door.run(beat_statements.BEAT, {"job_id": job_id, "epoch": run_epoch} | worker.parameters)
    [(status, admitted, taken, written)] = rows
    _refuse_if(taken)
    run_log.note_heartbeat(worker.id, HEARTBEATS.name, written=written)
    return [(status, admitted, taken)]


def _refuse_if(taken: bool) -> None:  # noqa: FBT001 - the answer of a statement
    if taken:
        raise WorkerIdTaken


def verdict(job_id: UUID, run_epoch: int, worker: Worker) -> Verdict:
    """Return whether this run of this worker still counts."""
    asked = {"job_id": job_id, "epoch": run_epoch} | worker.parameters
    [rows] = door.run(beat_statements.VERDICT, asked)
    return _verdict(rows)


def verdict_of(rows: Rows) -> Verdict:
    """Return the verdict of a report. Raise ``WorkerIdTaken`` if the worker's id is another key's."""
    [(_, _, taken)] = rows
    _refuse_if(taken)
    return _verdict(rows)


def _verdict(rows: Rows) -> Verdict:
    """Return the verdict from the status, None if the epoch is another one, and whether the fence admits the worker."""
    [(status, admitted, _)] = rows
    if not admitted:
        return Verdict.SUPERSEDED
    if status == IN_PROGRESS:
        return Verdict.GO_ON
    return Verdict.CANCELLED if status == CANCELLED else Verdict.SUPERSEDED


def count_given_back(worker: Worker, *, locked: int, refused: int) -> None:
    """Write into the worker's row how many messages it gave back: their rows were locked, or the database refused the claim."""
    counted = {"locked": locked, "refused": refused}
    door.run(beat_statements.COUNT_GIVEN_BACK, counted | worker.parameters)


def note_ahead(worker: Worker, job_id: UUID, run_epoch: int | None) -> None:
    """Write into the worker's row that it received a message about a later run than the job's row knows.

    ``jobs.restores.signs`` reads it: the database may have been restored.
    """
    door.run(beat_statements.NOTE_AHEAD, {"job_id": job_id, "epoch": run_epoch} | worker.parameters)


def leave(worker: Worker) -> None:
    """Delete the row of a worker that ends normally; a killed worker leaves its row behind.

    Raise ``WorkerIdTaken`` if the worker's id is another key's.
    """
    [[(taken,)]] = door.run(beat_statements.LEAVE, worker.parameters)
    _refuse_if(taken)
