"""Workers of each kind in the gallery: they claim, beat in their own way, and die by ``kill -9`` with their job running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings

from opsconsole.kit import mapping
from tests import databases
from tests.attach.foreign_worker import WORKER
from tests.attach.pieces import Piece, piece_of
from tests.databases import REPOSITORY, Database
from tests.waiting import wait_until

# One of each kind of life, and one whose beats are new rows.
KINDS = ("own_contract", "many_beats", "supabase", "janitor", "updated_at_triggers", "words_in_a_table")


@dataclass(frozen=True)
class Worker:
    """A worker's process, in the database of its piece."""

    piece: Piece
    database: Database
    process: subprocess.Popen[str]

    def signs(self) -> list[tuple[Any, ...]]:
        """Return what its kind shows as a sign of life."""
        mapped = self.piece.mapping()
        jobs, beats = mapped.jobs, mapped.worker_heartbeats
        if beats.absent:
            column = mapping.quoted(jobs.life.column or jobs.column("updated_at"))
            return self.database.sql(
                f"SELECT {column} FROM {jobs.sql} WHERE {jobs.is_status(mapping.IN_PROGRESS)} ORDER BY 1"
            )
        return self.database.sql(
            f"SELECT max({beats.sql_column('last_heartbeat')}) FROM {beats.sql} WHERE {beats.sql_column('worker_id')} = %s",
            [WORKER],
        )

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)


def test_workers_claim_beat_and_die_with_their_job_running(django_db_setup: None) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(_working(piece_of(name))) for name in KINDS]
        for worker in workers:
            assert worker.process.stdout
            job_id = worker.process.stdout.readline().strip()
            assert job_id, worker.piece.name
            beats = worker.piece.mapping().jobs.life.told_by != "visibility"
            before = worker.signs()
            if beats:
                wait_until(lambda worker=worker, before=before: worker.signs() != before)  # type: ignore[misc]  # mypy can't infer a lambda with defaults
            worker.kill()

            jobs = worker.piece.mapping().jobs
            running = f"SELECT {jobs.sql_column('id')}::text FROM {jobs.sql} WHERE {jobs.is_status(mapping.IN_PROGRESS)}"
            last = _once_its_session_ended(worker)
            assert (job_id,) in worker.database.sql(running), worker.piece.name
            assert worker.signs() == last, worker.piece.name


def _once_its_session_ended(worker: Worker) -> list[tuple[Any, ...]]:
    """Return the signs of life after the server noticed that the process is gone."""
    sessions = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: not worker.database.sql(sessions))
    return worker.signs()


@contextmanager
def _working(piece: Piece) -> Iterator[Worker]:
    database = databases.create(settings.DATABASES["default"])
    try:
        with psycopg.connect(database.url(), autocommit=True) as connection:
            piece.load(connection)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.attach.foreign_worker", piece.name, database.url()],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Worker(piece, database, process)
            finally:
                process.kill()
    finally:
        databases.drop(database)
