"""Tests of stale runs that others have locked: they are counted, told with who holds them, and alerted (I13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts.models import Alert
from jobs.models import Job, RecoveryControl, Sweep
from jobs.recovery import batches, control, lock_holders, outlook, passed_over, surroundings, sweeps, totals
from jobs.recovery.lock_holders import LockHolder
from jobs.runs.timeline import Actor
from opsconsole import overview
from opsconsole.kit import row_locks
from opsconsole.kit.row_locks import WaitBudget
from opsconsole.overview import current_figures
from opsconsole.overview.findings import findings
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import run
from tests.other_sessions import OtherSession, other_session
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("rules_without_delay")]

HOUR = timedelta(hours=1)
OPERATOR = Actor.operator("ada", None)
LOCK = "SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE"
LOCK_KEY = "SELECT FROM jobs WHERE id = %s FOR KEY SHARE"


@pytest.fixture(autouse=True)
def armed(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    control.arm(OPERATOR, "tests", cutoff=None)
    # Without a sweep before, the first one would count staleness from now.
    sweeps.sweep("test")


@pytest.fixture
def other() -> Iterator[OtherSession]:
    with other_session() as session:
        yield session


def dead_run(**fields: Any) -> Job:
    return run(age=2 * HOUR, silent=HOUR, **fields)


def adds_up(sweep: Sweep) -> bool:
    return sweep.found == sweep.requeued + sweep.quarantined + sweep.skipped + sweep.locked + sweep.errors


def test_totals_of_a_sweep_add_up(other: OtherSession) -> None:
    dead_run(worker="a")
    dead_run(worker="b", recovery_count=3)
    dead_run(worker="c", queue="gone")
    held = dead_run(worker="d")
    bad = dead_run(worker="e")
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE jobs ADD CONSTRAINT no CHECK (id <> '{bad.pk}' OR run_epoch < 2) NOT VALID"
        )
    other.execute(LOCK, [held.pk])
    try:
        swept = sweeps.sweep("test")
    finally:
        other.rollback()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs DROP CONSTRAINT no")
    counted = (swept.requeued, swept.quarantined, swept.skipped, swept.locked, swept.errors)
    assert (swept.found, counted) == (5, (1, 1, 1, 1, 1))
    assert swept.totals == ("found 5, requeued 1, quarantined 1, skipped 1, locked by others 1, failed 1")
    assert adds_up(swept)
    told = swept.details["lines"]
    assert len(told) == 3
    [line] = [line for line in told if str(held.pk) in line]
    assert f"locked by session {other.info.backend_pid} of role" in line
    assert "idle in transaction), whose transaction is" in line


def test_totals_add_up_while_recovery_only_observes() -> None:
    dead_run()
    control.disarm(OPERATOR, "tests")
    swept = sweeps.sweep("test")
    assert (swept.found, swept.skipped) == (1, 1) and adds_up(swept)


def test_page_that_others_hold_is_counted_by_the_other_sweep(other: OtherSession, settings: Any) -> None:
    """A host that vanished keeps a page locked; the sweep of the other host goes on behind it."""
    settings.OPSCONSOLE_SWEEP_PAGE_SIZE = 3
    held = [dead_run(worker=f"w{number}") for number in range(3)]
    free = run(
        age=2 * HOUR,
        silent=HOUR / 2,
        worker="free",
    )
    Job.objects.filter(pk=free.pk).update(updated_at=free.updated_at + HOUR)
    other.execute("SELECT FROM jobs WHERE id = ANY(%s) FOR NO KEY UPDATE", [[job.pk for job in held]])
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued, swept.locked) == (4, 1, 3)
    other.rollback()
    assert sweeps.sweep("test").requeued == 3


def test_session_of_a_page_ends_by_itself_when_its_process_says_nothing(
    other: OtherSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = dead_run()
    monkeypatch.setattr(row_locks, "IDLE", timedelta(milliseconds=300))
    with pytest.raises(Exception, match=r"terminat|closed|idle"), transaction.atomic():
        batches.limit_page(WaitBudget())
        list(row_locks.locked(Job.objects.filter(pk=job.pk)))
        wait_until(lambda: not _is_locked(other, job))
        Job.objects.count()
    connection.close()


def _is_locked(session: OtherSession, job: Job) -> bool:
    free = session.execute("SELECT FROM jobs WHERE id = %s FOR KEY SHARE SKIP LOCKED", [job.pk]).rowcount
    strong = session.execute(
        "SELECT FROM jobs WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED", [job.pk]
    ).rowcount
    session.rollback()
    return not (free and strong)


def test_update_that_must_wait_for_others_fails_for_its_run_alone(
    other: OtherSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a unique index over the status, an UPDATE needs the stronger lock after all."""
    monkeypatch.setattr(row_locks, "WAIT", timedelta(milliseconds=300))
    jobs = [dead_run(worker=f"w{number}") for number in range(4)]
    with connection.cursor() as cursor:
        cursor.execute("CREATE UNIQUE INDEX theirs ON jobs (id, status)")
    try:
        other.execute(LOCK_KEY, [jobs[2].pk])
        swept = sweeps.sweep("test")
    finally:
        other.rollback()
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX theirs")
    assert (swept.found, swept.requeued, swept.locked, swept.errors) == (4, 3, 1, 0)


# --- Who holds it


def in_savepoint(session: OtherSession, job: Job) -> None:
    with session.transaction():
        session.execute(LOCK, [job.pk])


WAYS: dict[str, Callable[[OtherSession, Job], object]] = {
    "locked": lambda session, job: session.execute(LOCK, [job.pk]),
    "locked for a delete": lambda session, job: session.execute(LOCK.replace("NO KEY ", ""), [job.pk]),
    "changed": lambda session, job: session.execute("UPDATE jobs SET attempts = 1 WHERE id = %s", [job.pk]),
    "in a savepoint": in_savepoint,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("beside_a_foreign_key", [False, True])
def test_holder_is_found(other: OtherSession, way: str, beside_a_foreign_key: bool) -> None:
    job = dead_run()
    with other_session() as child:
        if beside_a_foreign_key and way != "locked for a delete":
            child.execute(LOCK_KEY, [job.pk])
        other.execute("SELECT")
        WAYS[way](other, job)
        holder = lock_holders.holders_of([job.pk])[job.pk]
    assert holder.pid == other.info.backend_pid
    assert holder.state == "idle in transaction"
    assert holder.since
    assert holder.ending == f"SELECT pg_terminate_backend({holder.pid})"


def test_holder_is_found_behind_those_who_wait_for_it(other: OtherSession) -> None:
    job = dead_run()
    other.execute(LOCK, [job.pk])
    with other_session() as worker, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(worker.execute, "UPDATE jobs SET attempts = 1 WHERE id = %s", [job.pk])
        wait_until(lambda: _waits(worker.info.backend_pid))
        assert lock_holders.holders_of([job.pk])[job.pk].pid == other.info.backend_pid
        other.rollback()
        waiting.result(10)


def _waits(pid: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_blocking_pids(%s) <> '{}'", [pid])
        return bool(cursor.fetchone()[0])


def test_rows_of_one_transaction_are_asked_about_once(
    other: OtherSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [dead_run(worker=f"w{number}") for number in range(5)]
    other.execute("SELECT FROM jobs FOR NO KEY UPDATE")
    monkeypatch.setattr(lock_holders, "MOST_ASKED", 1)
    holders = lock_holders.holders_of([job.pk for job in jobs])
    assert {holder.pid for holder in holders.values()} == {other.info.backend_pid} and len(holders) == 5


def test_nobody_is_named_once_the_lock_is_released(other: OtherSession) -> None:
    job = dead_run()
    other.execute(LOCK, [job.pk])
    other.rollback()
    assert lock_holders.holders_of([job.pk]) == {}
    assert lock_holders.holders_of([]) == {}


def test_holder_says_what_it_may_not_see() -> None:
    now = timezone.now()
    hidden = LockHolder(7, "app", "", "", "", None)
    assert hidden.sentence(now) == (
        "session 7 of role app, whose transaction has an unknown age (the console's role lacks pg_read_all_stats)"
    )
    prepared = LockHolder(None, "", "", "", "tx-1", now - timedelta(hours=2))
    assert prepared.sentence(now) == "the prepared transaction 'tx-1', which is 2 h old"
    assert prepared.ending == "ROLLBACK PREPARED 'tx-1'"
    assert LockHolder(None, "", "", "", "it's", None).ending == "ROLLBACK PREPARED 'it''s'"


# --- Three in a row


def test_run_passed_over_by_three_sweeps_is_a_finding_and_an_alert(
    other: OtherSession, client: Client
) -> None:
    job = dead_run()
    other.execute(LOCK, [job.pk])
    for _ in range(2):
        assert passed_over.long_locked(sweeps.sweep("test")) is None
    assert not Alert.objects.open().filter(fingerprint=passed_over.LOCKED_RUNS)
    locked = passed_over.long_locked(sweeps.sweep("test"))
    assert locked and locked.job_ids == [job.pk]
    pid = other.info.backend_pid
    sentence = locked.sentence(timezone.now())
    assert sentence.startswith(
        f"1 run was passed over by 3 sweeps or more in a row: locked by session {pid} of role"
    )
    assert f"pg_terminate_backend({pid})" in locked.advice
    alert = Alert.objects.open().get(fingerprint=passed_over.LOCKED_RUNS)
    assert alert.value == 1 and f"session {pid}" in alert.summary
    overview.memory.clear()
    seen = current_figures.read()
    assert sentence[:80] in str(findings(seen, current_figures.surroundings_now(seen)))
    client.force_login(people.viewer())
    page = client.get(reverse("admin:jobs_recoverycontrol_changelist")).content.decode()
    assert f"session {pid}" in page
    other.rollback()
    assert sweeps.sweep("test").requeued == 1
    assert not Alert.objects.open().filter(fingerprint=passed_over.LOCKED_RUNS)


def test_alert_ends_with_its_runs_also_while_recovery_only_observes(other: OtherSession) -> None:
    job = dead_run()
    other.execute(LOCK, [job.pk])
    for _ in range(passed_over.SWEEPS_IN_A_ROW):
        sweeps.sweep("test")
    control.disarm(OPERATOR, "looking")
    sweeps.sweep("test")
    alert = Alert.objects.open().get(fingerprint=passed_over.LOCKED_RUNS)
    assert alert.unknown_why == "Recovery only observes, so no sweep tries to recover these runs"
    overview.memory.clear()
    seen = current_figures.read()
    [told] = [
        each for each in findings(seen, current_figures.surroundings_now(seen)) if "locked" in each.sentence
    ]
    assert told.advice == "Whether this still holds can't be judged at present. Open the alert to see why."
    other.rollback()
    Job.objects.filter(pk=job.pk).update(status="completed")
    sweeps.sweep("test")
    assert not Alert.objects.open().exists()


def test_streak_ends_when_a_sweep_could_lock_the_run(other: OtherSession) -> None:
    job = dead_run(queue="gone")
    for _ in range(2):
        other.execute(LOCK, [job.pk])
        sweeps.sweep("test")
        other.rollback()
    assert sweeps.sweep("test").details["locked"] == {}
    other.execute(LOCK, [job.pk])
    assert sweeps.sweep("test").details["locked"][str(job.pk)]["sweeps"] == 1


# --- Said before it happens


def test_preview_and_the_outlook_of_a_run_know_its_lock(
    other: OtherSession, capsys: pytest.CaptureFixture[str]
) -> None:
    held, _free = dead_run(worker="a"), dead_run(worker="b")
    other.execute(LOCK, [held.pk])
    call_command("recover_stale_jobs", dry_run=True)
    told = capsys.readouterr().out
    assert f"locked     {held.pk} run 1: Another transaction has locked its row" in told
    assert (
        "2 stale runs: 1 to requeue, 0 to quarantine, 0 to skip, 1 locked by others; nothing was changed."
        in told
    )
    assert "A run is taken no earlier than 10 min after the last heartbeat that named it." in told
    sweeps.sweep("test")
    job = Job.objects.with_evidence().get(pk=held.pk)
    assert "sweeps pass it over" in outlook.of_run(job, surroundings.glance()).sentence
    call_command("recover_stale_jobs")
    assert "locked by others 1" in capsys.readouterr().out


def test_more_runs_than_are_named_are_all_counted(other: OtherSession) -> None:
    number = passed_over.KEPT + 10
    for each in range(number):
        dead_run(worker=f"w{each}")
    other.execute("SELECT FROM jobs FOR NO KEY UPDATE")
    *_, swept = [sweeps.sweep("test") for _ in range(passed_over.SWEEPS_IN_A_ROW)]
    assert swept.locked == number
    assert "10 more locked by others" in swept.details["lines"]
    alert = Alert.objects.open().get(fingerprint=passed_over.LOCKED_RUNS)
    assert alert.title.startswith(f"{number} runs ")
    assert f"{number} runs were passed over" in alert.summary
    assert {each.locked for each in outlook.preview(surroundings.read(), 100)} == {True}


def test_outlook_beyond_the_runs_that_are_remembered_is_unknown(
    other: OtherSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passed_over, "COUNTED", 2)
    for each in range(4):
        dead_run(worker=f"w{each}")
    other.execute("SELECT FROM jobs FOR NO KEY UPDATE")
    *_, swept = [sweeps.sweep("test") for _ in range(passed_over.SWEEPS_IN_A_ROW)]
    assert (swept.locked, len(swept.details["locked"])) == (4, 2)
    alert = Alert.objects.open().get(fingerprint=passed_over.LOCKED_RUNS)
    assert alert.title == "At least 2 runs can't be recovered: others keep the rows locked"
    sentences = [each.sentence for each in outlook.preview(surroundings.read(), 10)]
    assert [("sweeps pass it over" in each, "it is unknown whether" in each) for each in sentences] == [
        *[(True, False)] * 2,
        *[(False, True)] * 2,
    ]
    other.rollback()
    assert sweeps.sweep("test").requeued == 4


def test_outlook_beyond_the_refused_runs_that_are_remembered_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(totals, "REFUSED_KEPT", 1)
    for each in range(2):
        dead_run(worker=f"w{each}")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ADD CONSTRAINT no CHECK (error_message IS NULL) NOT VALID")
    try:
        sweeps.sweep("test")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs DROP CONSTRAINT no")
    sentences = [each.sentence for each in outlook.preview(surroundings.read(), 10)]
    assert sorted("refused its recovery" in each for each in sentences) == [False, True]
    assert sorted("it is unknown whether" in each for each in sentences) == [False, True]


def test_more_refused_runs_than_are_named_are_promised_nothing() -> None:
    number = totals.LINES_KEPT + 10
    for each in range(number):
        dead_run(worker=f"w{each}")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ADD CONSTRAINT no CHECK (error_message IS NULL) NOT VALID")
    try:
        swept = sweeps.sweep("test")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs DROP CONSTRAINT no")
    assert swept.errors == number
    for prospect in outlook.preview(surroundings.read(), 100):
        assert prospect.sentence.startswith("The database refused its recovery in the last sweep")


def test_rules_beyond_those_kept_are_counted_together() -> None:
    counted = totals.Totals()
    for each in range(totals.RULES_KEPT + 3):
        counted._refuse(f"rule {each}", "no", ["id"], 2)
    assert sum(kept["runs"] for kept in counted.refused.values()) == 2 * (totals.RULES_KEPT + 3)


POLICY = """
CREATE ROLE {role}; GRANT USAGE ON SCHEMA public, opsconsole TO {role};
GRANT ALL ON ALL TABLES IN SCHEMA public, opsconsole TO {role};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public, opsconsole TO {role};
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY readable ON jobs FOR SELECT USING (true);
CREATE POLICY insertable ON jobs FOR INSERT WITH CHECK (true);
CREATE POLICY changeable ON jobs FOR UPDATE USING (customer_id <> 'theirs') WITH CHECK (true);
SET ROLE {role}
"""
UNDO = """
RESET ROLE; DROP POLICY readable ON jobs; DROP POLICY insertable ON jobs; DROP POLICY changeable ON jobs;
ALTER TABLE jobs DISABLE ROW LEVEL SECURITY;
DROP OWNED BY {role}; DROP ROLE {role}
"""


@pytest.fixture
def hides_theirs() -> Iterator[None]:
    """Connect as a role from which a policy of row-level security hides the rows of one customer when it changes rows."""
    role = f"kept_out_{uuid4().hex[:8]}"
    with connection.cursor() as cursor:
        cursor.execute(POLICY.format(role=role))
        yield
        cursor.execute(UNDO.format(role=role))


@pytest.mark.usefixtures("hides_theirs")
def test_run_that_a_policy_hides_is_told_as_refused_and_not_as_locked(other: OtherSession) -> None:
    hidden, held, free = (dead_run(worker=name, customer_id=name) for name in ("theirs", "held", "free"))
    other.execute(LOCK, [held.pk])
    rule = "a trigger that returns NULL, or a row-level policy, of table 'jobs'"

    seen = {each.job.pk: each for each in outlook.preview(surroundings.glance(), 10, probing=True)}
    swept = sweeps.sweep("test")

    assert {each.pk: (seen[each.pk].locked, seen[each.pk].refused) for each in (hidden, held, free)} == {
        hidden.pk: (False, True),
        held.pk: (True, False),
        free.pk: (False, False),
    }
    assert rule in seen[hidden.pk].sentence
    assert (swept.found, swept.requeued, swept.locked, swept.errors) == (3, 1, 1, 1)
    assert list(swept.details["locked"]) == [str(held.pk)]
    assert swept.details["refused"][rule]["jobs"] == [str(hidden.pk)]
