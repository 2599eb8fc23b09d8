"""Tests of concurrent and killed processes in a bulk operation: each member is done exactly once."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models.functions import Now

from jobs.bulk import chunks, decisions, freezing
from jobs.bulk.kinds import BulkRefused
from jobs.bulk.registry import KINDS, kind_of
from jobs.models import BulkOperation, Job, JobEvent, Outbox, Status
from jobs.runs.timeline import Actor
from tests.jobs.bulk.helpers import ADA, REASON, begun, finish, fresh, make_due, many, preview, told
from tests.programs import program
from tests.racing import race
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _fast(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_PACE = 5
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0


def runs_until_it_ends(operation: BulkOperation) -> int:
    """Work as a runner that never waits for the pace; return the number of chunks it worked on."""
    runner = uuid4().hex
    count = 0
    while fresh(operation).state == BulkOperation.State.RUNNING:
        BulkOperation.objects.filter(pk=operation.pk).update(due_at=Now(), leased_until=Now())
        count += chunks.work(fresh(operation), runner)
    return count


def each_once(jobs: list[Job]) -> bool:
    told_of = Counter(JobEvent.objects.filter(kind="requeued").values_list("job_id", flat=True))
    sent = Counter(Outbox.objects.values_list("job_id", flat=True))
    return told_of == sent == Counter(job.pk for job in jobs)


def test_runners_without_exclusive_lease_do_each_member_once() -> None:
    jobs = many(60)
    operation = begun()
    counts = race([lambda: runs_until_it_ends(operation)] * 4)
    operation = fresh(operation)
    assert (operation.state, operation.done, operation.skipped, operation.failed) == ("ended", 60, 0, 0)
    assert sum(counts) >= 12
    assert each_once(jobs)
    assert told(operation) == ["begun", "ended"]


def test_concurrent_runners_take_one_chunk() -> None:
    many(20)
    operation = begun()
    took = race([lambda: chunks.work(fresh(operation), "one"), lambda: chunks.work(fresh(operation), "two")])
    assert sorted(took) == [False, True]
    assert fresh(operation).done == 5


@pytest.mark.parametrize("_", range(3))
def test_cancelling_while_it_runs_leaves_no_member_in_between(_: int) -> None:
    jobs = many(40)
    operation = begun()
    race(
        [
            lambda: runs_until_it_ends(operation),
            lambda: runs_until_it_ends(operation),
            lambda: decisions.cancel(operation, ADA, "stop"),
        ]
    )
    operation = fresh(operation)
    done = Job.objects.filter(status=Status.PENDING).count()
    assert operation.state == "cancelled"
    assert operation.done == done == operation.members.filter(outcome="done").count()
    decisions.resume(operation, ADA, "go on")
    assert finish(operation).done == 40
    assert each_once(jobs)


def refused(act: Any) -> bool:
    try:
        act()
    except BulkRefused:
        return True
    return False


def test_concurrent_confirmations_begin_operation_once() -> None:
    many(3)
    operation = preview()
    confirm = lambda: refused(lambda: decisions.begin(operation, ADA, REASON, typed="3"))  # noqa: E731
    assert sorted(race([confirm] * 4)) == [False, True, True, True]
    assert told(operation) == ["begun"]


def test_two_operators_requeue_each_job_once() -> None:
    jobs = many(40)
    bob = Actor.operator("bob", 8)
    of_ada, of_bob = begun(), begun(actor=bob)
    race([lambda: runs_until_it_ends(of_ada), lambda: runs_until_it_ends(of_bob)])
    of_ada, of_bob = fresh(of_ada), fresh(of_bob)
    assert of_ada.done + of_bob.done == 40
    assert of_ada.skipped + of_bob.skipped == 40
    assert each_once(jobs)


def test_preview_taken_during_a_requeue_requeues_nothing_twice() -> None:
    jobs = many(40)
    first, second = begun(), preview(actor=Actor.operator("bob", 8))
    race(
        [
            lambda: runs_until_it_ends(first),
            lambda: freezing.freeze(kind_of("requeue"), Job.objects.all(), ADA, scope="all"),
        ]
    )
    decisions.begin(second, Actor.operator("bob", 8), REASON, typed=str(second.will))
    finish(second)
    assert each_once(jobs)


class Died(BaseException):
    """A simulated kill of the process, which the code under test does not catch."""


@pytest.mark.parametrize("where", ["_settle", "_change", "_finish"])
def test_next_runner_continues_after_crash(where: str, monkeypatch: Any) -> None:
    jobs = many(12)
    operation = begun()
    real = getattr(chunks, where)
    calls = 0

    def dies(*args: Any, **changes: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise Died
        return real(*args, **changes)

    monkeypatch.setattr(chunks, where, dies)
    crashes = 0
    while fresh(operation).state == "running":
        make_due(operation)
        try:
            chunks.work(fresh(operation), uuid4().hex)
        except Died:
            crashes += 1
            connection.close()
    operation = fresh(operation)
    assert crashes >= 1
    assert (operation.state, operation.done, operation.skipped) == ("ended", 12, 0)
    assert each_once(jobs)


def test_killed_runner_loses_nothing(settings: Any) -> None:
    jobs = many(400)
    operation = begun()
    environ = os.environ | {
        "DATABASE_URL": database_url(settings),
        "OPSCONSOLE_BULK_PACE": "5",
        "OPSCONSOLE_BULK_TRIAL_SIZE": "0",
    }
    with program([sys.executable, "-c", WORK, str(operation.pk)], cwd=ROOT, env=environ):
        wait_until(lambda: fresh(operation).done > 20, timeout=40)
    # What the runner had sent when it was killed, PostgreSQL may still do.
    wait_until(lambda: fresh(operation).done == Job.objects.filter(status=Status.PENDING).count())
    settled = fresh(operation)
    assert settled.state == "running"
    assert settled.done < 400
    # As if the lease of the killed runner had passed, which it may have kept.
    make_due(operation)
    assert finish(operation).done == 400
    assert each_once(jobs)


WORK = """
import sys, django
django.setup()
from tests.jobs.bulk.helpers import make_due, fresh
from jobs.bulk import chunks
from jobs.models import BulkOperation
operation = BulkOperation.objects.get(pk=int(sys.argv[1]))
while fresh(operation).state == "running":
    make_due(operation)
    chunks.work(fresh(operation), "doomed")
"""


def database_url(settings: Any) -> str:
    database = settings.DATABASES["default"]
    return f"postgres://{database['USER']}@/{database['NAME']}?host={database['HOST']}"


def test_non_transactional_kind_is_repeated_and_recorded_once(monkeypatch: Any) -> None:
    from dataclasses import replace

    from jobs.bulk.kinds import Order, Result
    from jobs.models import BulkMember

    sent: list[str] = []

    def send(order: Order) -> list[Result]:
        """Send each subject at most once, like a kind that keeps its own ledger outside the transaction."""
        new = [subject for subject in order.subjects if subject not in sent]
        sent.extend(new)
        return [Result(subject, BulkMember.Outcome.DONE, "Sent.") for subject in order.subjects]

    monkeypatch.setitem(KINDS, "requeue", replace(KINDS["requeue"], carry_out=send, atomic=False))
    many(12)
    operation = begun()
    real, calls = chunks._settle, 0

    def dies(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Died
        return real(*args)

    monkeypatch.setattr(chunks, "_settle", dies)
    assert chunks.work(fresh(operation), "one")
    BulkOperation.objects.update(due_at=Now())
    with pytest.raises(Died):
        chunks.work(fresh(operation), "one")
    BulkOperation.objects.update(due_at=Now())
    assert not chunks.work(fresh(operation), "two"), "the lease of the one that died still holds"
    operation = finish_by_lease(operation)
    assert (operation.state, operation.done) == ("ended", 12)
    assert sent == list(operation.members.order_by("id").values_list("subject", flat=True))


def finish_by_lease(operation: BulkOperation) -> BulkOperation:
    runs_until_it_ends(operation)
    return fresh(operation)
