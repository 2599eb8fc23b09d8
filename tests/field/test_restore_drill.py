"""The drill of docs/restoring.md: a real dump, a restore of it, and the steps of the page. ``make drill-restore`` runs it.

With BACKUP=file it restores a dump of yours instead, into a scratch database on a server of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from opsconsole.embedded.postgres import POSTGRES
from tests.conftest import TestQueue
from tests.field.conftest import production, roles
from tests.field.console import OWNER, Console
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from tests.databases import Database

BACKUP = os.environ.get("BACKUP", "")
PAGE = (REPOSITORY / "docs" / "restoring.md").read_text()
HOUR = timedelta(hours=1)


def postgres(program: str, *words: str, database: Database) -> subprocess.CompletedProcess[str]:
    server = ["--host", database.server["host"], "--username", database.server["user"]]
    done = subprocess.run(
        [str(POSTGRES / "bin" / program), *server, *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def in_its_place(database: Database) -> None:
    """Drop the database, and create an empty one of the owner under its name."""
    with psycopg.connect(**database.server, dbname="postgres", autocommit=True) as server:
        server.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)'.encode())
        server.execute(f'CREATE DATABASE "{database.name}" OWNER {OWNER}'.encode())


def tables(database: Database) -> dict[str, int]:
    """Return the number of rows of every table that has any."""
    listed = database.sql(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    counted = {name: int(database.value(f"SELECT count(*) FROM {name}")) for (name,) in listed}
    return {name: count for name, count in counted.items() if count}


@pytest.fixture
def restorable(database: Database, sqs_queue: TestQueue, static_folder: Path, tmp_path: Path) -> Console:
    queues = {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}
    return Console(tmp_path, database, production(static_folder) | roles(database) | queues)


@pytest.mark.skipif(bool(BACKUP), reason="BACKUP names a dump")
def test_backup_is_restored(restorable: Console, sqs_queue: TestQueue, tmp_path: Path) -> None:
    from jobs.messaging import dispatcher
    from jobs.models import Job, RecoveryControl, Status
    from jobs.recovery import control
    from jobs.runs.timeline import Actor
    from opsconsole_worker.runs import lifecycle
    from opsconsole_worker.runs.heartbeats import Worker
    from opsconsole_worker.runs.lifecycle import Run
    from opsconsole_worker.runs.running_job import RunningJob
    from tests import factories

    database, dump = restorable.database, tmp_path / "console.dump"
    with database.as_default():
        control.arm(Actor.operator("olga", None), "tested", None)
        paid, waiting = factories.job(), factories.job()
        factories.letter(paid)
        factories.letter(waiting)
        assert dispatcher.dispatch().sent == 2
    counted = tables(database)
    postgres("pg_dump", "--format=custom", f"--file={dump}", database.name, database=database)

    with database.as_default():
        # What the restore takes back: the work is done outside, and the database won't know it.
        assert isinstance(lifecycle.claim(paid.pk, 1, Worker("w1")), RunningJob)
        assert lifecycle.complete(Run(paid.pk, 1, Worker("w1")))
    sqs_queue.client.purge_queue(QueueUrl=sqs_queue.url)

    in_its_place(database)
    postgres("pg_restore", "--exit-on-error", f"--dbname={database.name}", str(dump), database=database)
    assert tables(database) == counted

    ids = tmp_path / "ids.txt"
    ids.write_text(f"{paid.pk}\n")
    for words in (
        ("migrate", "-v0"),
        ("recovery_mode", "restored", "--completed", str(ids), "--reason", "Restored the backup."),
    ):
        assert f"opsconsole {words[0]}" in PAGE
        done = restorable.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
    with database.as_default():
        assert RecoveryControl.load().mode == "observe"
        assert Job.objects.get(pk=paid.pk).status == Status.COMPLETED
        again = Job.objects.get(pk=waiting.pk)
        assert (again.status, again.run_epoch > 1) == (Status.PENDING, True)
        assert dispatcher.dispatch().sent == 1
        # Grants, and the settings of sessions, are those of an installation: the dump has only the first.
        assert database.value("SELECT count(*) FROM pg_db_role_setting WHERE setdatabase <> 0") > 0


@pytest.mark.skipif(not BACKUP, reason="make drill-restore BACKUP=file names a dump")
def test_your_backup_can_be_restored(restorable: Console) -> None:
    database = restorable.database
    in_its_place(database)
    # Your roles are not on this server.
    words = (
        "--no-owner",
        "--no-privileges",
        "--exit-on-error",
        f"--role={OWNER}",
        f"--dbname={database.name}",
    )
    postgres("pg_restore", *words, str(Path(BACKUP).resolve()), database=database)
    for step in (("migrate", "-v0"), ("verify_audit",), ("recovery_mode", "show"), ("find_stale_jobs",)):
        done = restorable.run(*step)
        sys.stdout.write(f"{' '.join(step)}: {done.stdout.strip()[-1_000:] or 'done'}\n")
        assert done.returncode == 0, done.stdout + done.stderr
    rows = sorted(tables(database).items(), key=lambda each: -each[1])
    sys.stdout.writelines(f"{count:>12} {name}\n" for name, count in rows[:20])
