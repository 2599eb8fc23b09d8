"""Heartbeats: one row per worker, overwritten by each heartbeat."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from jobs.models import Status
from jobs.runs import statements
from jobs.runs.timeline import Actor
from opsconsole.kit import round_trip
from opsconsole.kit.round_trip import Rows

PROTOCOL = {"protocol": 1}


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
        """Return what the statements of ``jobs.runs.statements`` read of a worker."""
        described = {
            "worker": self.id,
            "hostname": self.hostname,
            "pid": self.pid,
            "process": self.process,
            "key": self.key,
        }
        return described | {"protocol": json.dumps(PROTOCOL), "actor": Actor.worker(self.id).name}


class Verdict(StrEnum):
    """The answer to a heartbeat: whether the run still counts."""

    GO_ON = "go_on"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


def say(worker: Worker, job_id: UUID | None = None, run_epoch: int | None = None) -> None:
    """Write the worker's row: alive, and running this run or nothing."""
    if job_id is None:
        round_trip.run(statements.IDLE_BEAT, worker.parameters)
    else:
        _beat(worker, job_id, run_epoch)


def beat(worker: Worker, job_id: UUID, run_epoch: int) -> Verdict:
    """Record that the run is alive, and return whether it should continue. The heartbeat of a superseded run does not count."""
    return _verdict(_beat(worker, job_id, run_epoch))


def _beat(worker: Worker, job_id: UUID, run_epoch: int | None) -> Rows:
    [rows] = round_trip.run(statements.BEAT, {"job_id": job_id, "epoch": run_epoch} | worker.parameters)
    return rows


def verdict(job_id: UUID, run_epoch: int, worker: Worker) -> Verdict:
    """Return whether this run of this worker still counts."""
    asked = {"job_id": job_id, "epoch": run_epoch} | worker.parameters
    [rows] = round_trip.run(statements.VERDICT, asked)
    return _verdict(rows)


def _verdict(rows: Rows) -> Verdict:
    """Return the verdict from the status and whether the fence admits the worker. No row: the epoch is another one."""
    status, admitted = rows[0] if rows else (None, True)
    if not admitted:
        return Verdict.SUPERSEDED
    if status == Status.IN_PROGRESS:
        return Verdict.GO_ON
    return Verdict.CANCELLED if status == Status.CANCELLED else Verdict.SUPERSEDED


def count_given_back(worker: Worker, *, locked: int, refused: int) -> None:
    """Write into the worker's row how many messages it gave back: their rows were locked, or the database refused the claim."""
    counted = {"locked": locked, "refused": refused}
    round_trip.run(statements.COUNT_GIVEN_BACK, counted | worker.parameters)


def note_ahead(worker: Worker, job_id: UUID, run_epoch: int | None) -> None:
    """Write into the worker's row that it received a message about a later run than the job's row knows.

    ``jobs.restores.signs`` reads it: the database may have been restored.
    """
    round_trip.run(statements.NOTE_AHEAD, {"job_id": job_id, "epoch": run_epoch} | worker.parameters)


def leave(worker: Worker) -> None:
    """Delete the row of a worker that ends normally; a killed worker leaves its row behind."""
    round_trip.run(statements.LEAVE, worker.parameters)
