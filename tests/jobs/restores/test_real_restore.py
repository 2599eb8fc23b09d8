"""A database that is really restored from a copy: the restore is noticed, everything from before fenced, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from jobs.messaging import dispatcher
from jobs.models import Job, JobEvent, RecoveryControl, Status
from jobs.recovery import control, sweeps
from jobs.restores import fencing, signs, suspects
from jobs.runs.timeline import Actor
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Refusal, Refused, Run
from opsconsole_worker.runs.running_job import RunningJob
from tests import factories
from tests.conftest import TestQueue
from tests.databases import Database

OLGA = Actor.operator("olga", None)
HOUR = timedelta(hours=1)
W2, W3, W4 = Worker("w2"), Worker("w3"), Worker("w4")


@pytest.fixture
def console(theirs: Database, sqs_queue: TestQueue) -> Database:
    theirs.migrate()
    return theirs


@pytest.fixture
def backup(console: Database) -> Iterator[Callable[[], Callable[[], None]]]:
    """Yield a function that copies the database as it is now, and returns a function that puts the copy in its place."""
    copies: list[str] = []

    def statement(text: str) -> None:
        with psycopg.connect(**console.server, dbname="postgres", autocommit=True) as connection:
            connection.execute(text.encode())

    def make() -> Callable[[], None]:
        copy = f"backup_{uuid4().hex[:12]}"
        statement(f'CREATE DATABASE "{copy}" TEMPLATE "{console.name}"')
        copies.append(copy)

        def restore() -> None:
            statement(f'DROP DATABASE "{console.name}" WITH (FORCE)')
            statement(f'CREATE DATABASE "{console.name}" TEMPLATE "{copy}"')

        return restore

    yield make
    for copy in copies:
        statement(f'DROP DATABASE "{copy}" WITH (FORCE)')


def test_restored_backup(
    console: Database, backup: Callable[[], Callable[[], None]], sqs_queue: TestQueue
) -> None:
    with console.as_default():
        control.arm(OLGA, "tested", None)
        job = factories.run(age=HOUR, silent=HOUR, worker="w1")
        done = factories.job()
        factories.letter(done)
        assert dispatcher.dispatch().sent == 1
        assert signs.watch() == "no sign of a restore"
    restore = backup()
    with console.as_default():
        # What the restore takes back: run 2 of the stale job, and the completion of the other one.
        assert sweeps.sweep("command").requeued == 1
        assert isinstance(lifecycle.claim(job.pk, 2, W2), RunningJob)
        assert isinstance(lifecycle.claim(done.pk, 1, W2), RunningJob)
        assert lifecycle.complete(Run(done.pk, 1, W2))
        sqs_queue.client.purge_queue(QueueUrl=sqs_queue.url)
        signs.watch()
    restore()
    with console.as_default():
        assert Job.objects.get(pk=done.pk).status == Status.PENDING

        signs.watch()
        assert any("The data went back" in sign for sign in signs.kept())

        # A sweep makes another run 2 before the operator acts.
        assert sweeps.sweep("command").requeued == 1
        assert isinstance(lifecycle.claim(job.pk, 2, W3), RunningJob)
        assert heartbeats.beat(W2, job.pk, 2) is Verdict.SUPERSEDED
        assert not lifecycle.complete(Run(job.pk, 2, W2))
        late = JobEvent.objects.get(job_id=job.pk, kind="late_result_rejected")
        assert late.actor == "worker:w2"

        fence = fencing.restored(OLGA, "Restored the copy.").restore

        assert RecoveryControl.load().mode == "observe"
        assert signs.kept() == []
        assert heartbeats.beat(W3, job.pk, 2) is Verdict.SUPERSEDED
        assert not lifecycle.complete(Run(job.pk, 2, W3))
        assert lifecycle.claim(done.pk, 1, W4) == Refused(Refusal.SUPERSEDED)
        found = {each.job_id: each.evidence for each in suspects.of(fence).jobs}
        assert found == {job.pk: "late_result", done.pk: "message_taken"}
        assert dispatcher.dispatch().sent == 1
        assert isinstance(lifecycle.claim(done.pk, fence.fence, W4), RunningJob)
        assert lifecycle.complete(Run(done.pk, fence.fence, W4))
