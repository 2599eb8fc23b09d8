"""Tests of sweeps: a job whose worker died runs again once, and a live worker is left alone (I3 to I6)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alerts.models import Alert
from jobs.messaging import outbox
from jobs.models import DeadLetter, Job, JobEvent, Outbox, QueueState, RecoveryControl, Status, Sweep
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import batches, control, outlook, rescue, surroundings, sweeps
from jobs.recovery.decision import SweepAction
from jobs.recovery.stale_pages import lock_again
from jobs.recovery.totals import Totals
from jobs.runs.diagnosis import Reason
from jobs.runs.timeline import Actor
from opsconsole.kit import doorbell
from opsconsole.kit.row_locks import locked
from opsconsole.kit.short_ids import short_id
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Run
from tests.factories import SECOND, beat, dead_letter, job, run

THRESHOLD = timedelta(minutes=10)
OPERATOR = Actor.operator("ada", None)


@pytest.fixture(autouse=True)
def armed(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    control.arm(OPERATOR, "tests", cutoff=None)


def dead_run(**fields: Any) -> Job:
    return run(age=3 * THRESHOLD, silent=2 * THRESHOLD, **fields)


def test_dead_run_waits_again_with_event_and_message() -> None:
    dead = dead_run()
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued, swept.errors, swept.mode) == (1, 1, 0, Sweep.Mode.ARMED)
    again = Job.objects.get(pk=dead.pk)
    assert (again.status, again.run_epoch, again.recovery_count) == (Status.PENDING, 2, 1)
    assert (again.worker_id, again.started_at, again.claimed_epoch) == (None, None, None)
    assert again.error_message == "Recovered from stale state (no worker heartbeat)"
    message = Outbox.objects.get(job=dead)
    assert (message.run_epoch, message.retry, message.reason) == (2, True, "stale_job_recovery")
    event = JobEvent.objects.get(job=dead)
    assert (event.kind, event.run_epoch, event.actor) == ("recovered", 1, "sweep")
    assert event.details["why"] == Reason.DEAD_WORKER
    assert "stopped during this run" in event.reason


@pytest.mark.parametrize(("number", "rings"), [(2, True), (1, False)])
def test_sweep_wakes_the_dispatcher_with_each_page_that_is_a_burst(
    number: int, rings: bool, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(outbox, "BURST", 2)
    for _ in range(number):
        dead_run()
    with django_capture_on_commit_callbacks() as once_committed:
        assert sweeps.sweep("test").requeued == number
    assert (doorbell.ring in once_committed) == rings


def test_evidence_is_counted_only_where_a_run_may_be_silent() -> None:
    def counted() -> int:
        with CaptureQueriesContext(connection) as captured:
            control.mass_of_stale(surroundings.glance().policy)
        return sum("worker_heartbeats" in each["sql"] for each in captured)

    fresh = run(age=SECOND, silent=SECOND)
    assert counted() == 0
    Job.objects.filter(pk=fresh.pk).update(updated_at=Now() - timedelta(hours=1))
    assert counted() > 0


def test_each_run_of_a_page_gets_its_own_reason() -> None:
    dead = dead_run(worker="dead")
    left = run(age=3 * THRESHOLD, worker="moved")
    beat("moved", job().pk, 1)
    returned = run(age=3 * THRESHOLD, worker="idle")
    beat("idle", ago=4 * THRESHOLD)
    unheard = run(age=3 * THRESHOLD, worker="unheard")
    assert sweeps.sweep("test").requeued == 4
    told = {event.job_id: event for event in JobEvent.objects.all()}
    assert {pk: event.details["why"] for pk, event in told.items()} == {
        dead.pk: Reason.DEAD_WORKER,
        left.pk: Reason.WORKER_MOVED_ON,
        returned.pk: Reason.NEVER_BEAT,
        unheard.pk: Reason.NEVER_BEAT,
    }
    assert told[left.pk].reason.startswith("Worker moved sends heartbeats, but no longer for this run")
    details = told[dead.pk].details
    assert (details["worker"], details["counted"], details["epoch_now"]) == ("dead", True, 2)
    assert details["silent_seconds"] == pytest.approx(1200, abs=60)
    seen = datetime.fromisoformat(details["last_seen"])
    assert timezone.now() - seen == pytest.approx(2 * THRESHOLD, abs=60 * SECOND)


def test_unknown_run_is_left_alone_until_a_rule_gives_it_up() -> None:
    """Nothing proves that a run without our protocol died which no heartbeat ever named."""
    unheard = run(age=100 * THRESHOLD, claimed=False)
    assert sweeps.sweep("test").found == 0
    assert Job.objects.get(pk=unheard.pk).status == Status.IN_PROGRESS

    control.give_up_unknown_runs(OPERATOR, "SQS would have sent it again", after=200 * THRESHOLD)
    assert sweeps.sweep("test").found == 0
    control.give_up_unknown_runs(OPERATOR, "SQS would have sent it again", after=50 * THRESHOLD)
    assert sweeps.sweep("test").requeued == 1
    event = JobEvent.objects.get()
    assert event.details["why"] == Reason.UNKNOWN
    assert event.reason.endswith("It is given up by the rule for unknown runs.")


def test_recoveries_count_within_the_window() -> None:
    """A long job may outlive many deploys. Only recoveries of the last 72 hours and since its release count."""
    quick, slow, released = (dead_run(worker=f"w{number}", recovery_count=3) for number in range(3))
    for made, hours, counted in [(quick, 71, True), (slow, 73, True), (released, 73, False)]:
        details = {"counted": counted}
        JobEvent.objects.create(
            job=made, kind="recovered", actor="sweep", at=Now() - timedelta(hours=hours), details=details
        )
    JobEvent.objects.create(
        job=released,
        kind="recovered",
        actor="sweep",
        at=Now() - timedelta(hours=73),
        details={"counted": True},
    )
    JobEvent.objects.create(job=released, kind="released", actor="operator:ada")
    assert {job.pk: job.recent_recoveries for job in Job.objects.with_evidence()} == {
        quick.pk: 3,
        slow.pk: 2,
        released.pk: 3,
    }
    assert (swept := sweeps.sweep("test")).requeued == 1 and swept.quarantined == 2
    assert Job.objects.get(pk=slow.pk).status == Status.PENDING


@pytest.mark.parametrize(
    ("recoveries", "receives", "expected"),
    [(0, 4, "pending"), (1, 4, "quarantined"), (2, 2, "pending"), (2, 3, "quarantined"), (0, 1, "pending")],
)
def test_fourth_death_quarantines_whoever_sent_the_job_again(
    recoveries: int, receives: int, expected: str
) -> None:
    """SQS gave up a message after all receives but one, which was the console's. The last of them is the run that is judged."""
    QueueState.objects.create(name="default", visibility_timeout_seconds=60)
    dead = dead_run(claimed=False, recovery_count=recoveries)
    dead_letter(dead, receive_count=receives)

    sweeps.sweep("test")

    assert Job.objects.get(pk=dead.pk).status == expected
    if expected == "quarantined":
        reason = JobEvent.objects.get(job=dead).reason
        assert f"failed {'delivery' if receives == 3 else 'deliveries'} by SQS within 72 hours" in reason


def test_deliveries_count_only_within_the_window_since_a_release_and_by_sqs_itself() -> None:
    of_our_protocol, old, released, copied = (
        dead_run(worker=f"w{number}", claimed=bool(number == 0)) for number in range(4)
    )
    counted = dead_run(worker="w4", claimed=False)
    for each in (of_our_protocol, old, released, counted):
        dead_letter(each, receive_count=4)
    DeadLetter.objects.filter(job=old).update(first_seen_at=Now() - timedelta(hours=73))
    dead_letter(copied, receive_count=4, dead_letter_id="made-by-the-console")
    JobEvent.objects.create(
        job=released, kind="released", actor="operator:ada", at=Now() + timedelta(seconds=1)
    )

    deliveries = {job.pk: job.failed_deliveries for job in Job.objects.with_evidence()}
    assert deliveries == {each.pk: 0 for each in (of_our_protocol, old, released, copied)} | {counted.pk: 2}


def test_only_messages_to_a_dead_letter_queue_have_a_name() -> None:
    waits, ends = dead_run(), dead_run(worker="worker-2", recovery_count=3)
    sweeps.sweep("test")
    assert Outbox.objects.get(job=waits).dead_letter_id is None
    assert Outbox.objects.get(job=ends).dead_letter_id is not None
    with pytest.raises(IntegrityError, match="have_a_name"), transaction.atomic():
        Outbox.objects.filter(job=ends).update(dead_letter_id=None)


def test_late_worker_is_refused_and_learns_it_at_its_next_beat() -> None:
    dead = dead_run()
    late = Run(dead.pk, 1, Worker("worker-1"))
    sweeps.sweep("test")
    assert heartbeats.beat(late.worker, dead.pk, 1) == Verdict.SUPERSEDED
    assert lifecycle.complete(late) is False
    assert Job.objects.get(pk=dead.pk).status == Status.PENDING
    assert JobEvent.objects.filter(job=dead, kind="late_result_rejected").count() == 1


@pytest.mark.parametrize(("recoveries", "expected"), [(2, "pending"), (3, "quarantined"), (4, "quarantined")])
def test_quarantined_after_three_recoveries(recoveries: int, expected: str) -> None:
    dead = dead_run(recovery_count=recoveries)
    sweeps.sweep("test")
    assert Job.objects.get(pk=dead.pk).status == expected
    destination = Outbox.objects.get(job=dead).destination
    assert destination == ("dlq" if expected == "quarantined" else "queue")


def test_quarantined_job_is_not_touched_again() -> None:
    dead_run(recovery_count=3)
    sweeps.sweep("test")
    assert sweeps.sweep("test").found == 0


def test_observe_mode_changes_nothing() -> None:
    dead = dead_run()
    control.disarm(OPERATOR, "looking first")
    swept = sweeps.sweep("test")
    assert (swept.mode, swept.found, swept.requeued) == (Sweep.Mode.OBSERVE, 1, 0)
    assert Job.objects.get(pk=dead.pk).status == Status.IN_PROGRESS
    assert not Outbox.objects.exists()
    armed = surroundings.if_armed(surroundings.read(), cutoff=None)
    assert [each.action for each in outlook.preview(armed, 10)] == [SweepAction.REQUEUE]


def test_runs_older_than_the_cutoff_are_not_recovered() -> None:
    old, new = dead_run(), run(age=2 * THRESHOLD, worker="worker-2")
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp() - interval '25 minutes'")
        control.arm(OPERATOR, "only newer ones", cutoff=cursor.fetchone()[0])
    swept = sweeps.sweep("test")
    assert (swept.requeued, swept.skipped) == (1, 1)
    assert Job.objects.get(pk=old.pk).status == Status.IN_PROGRESS
    assert Job.objects.get(pk=new.pk).status == Status.PENDING


def test_queue_that_is_not_configured_is_skipped_not_lost() -> None:
    dead = dead_run(queue="gone")
    swept = sweeps.sweep("test")
    assert (swept.skipped, swept.requeued) == (1, 0)
    assert "'gone' is not configured" in swept.details["lines"][0]
    assert Job.objects.get(pk=dead.pk).status == Status.IN_PROGRESS


def test_stale_run_of_a_queue_by_hand_is_left_to_an_operator(settings: Any) -> None:
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("default",)
    dead = dead_run()
    swept = sweeps.sweep("test")
    assert (swept.skipped, swept.requeued) == (1, 0)
    assert "Sweeps leave stale runs of the queue 'default' to operators" in swept.details["lines"][0]
    assert Job.objects.get(pk=dead.pk).status == Status.IN_PROGRESS
    [outcome] = job_operations.carry_out(
        job_operations.plan(JobAction.REQUEUE, [dead.pk]), OPERATOR, "seen what it did"
    )
    assert outcome.done
    assert Job.objects.get(pk=dead.pk).status == Status.PENDING


def test_sweep_works_in_pages_at_its_pace(settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_PAGE_SIZE, settings.OPSCONSOLE_SWEEP_LIMIT = 3, 6
    for number in range(10):
        dead_run(worker=f"worker-{number}")
    first = sweeps.sweep("test")
    assert first.requeued == 6 and "left to later sweeps" in first.note
    assert sweeps.sweep("test").requeued == 4


def test_pages_go_on_among_runs_that_began_together(settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_PAGE_SIZE = 2
    for number in range(5):
        dead_run(worker=f"worker-{number}", queue="gone")
    Job.objects.update(updated_at=Job.objects.values("started_at").order_by("pk")[:1])
    assert Job.objects.values("updated_at").distinct().count() == 1
    swept = sweeps.sweep("test")
    assert (swept.found, swept.skipped) == (5, 5)


def test_page_costs_the_same_statements_for_many_runs_as_for_one() -> None:
    def statements_of_a_sweep() -> int:
        with CaptureQueriesContext(connection) as captured:
            sweeps.sweep("test")
        return len(captured)

    statements_of_a_sweep()
    dead_run()
    of_one = statements_of_a_sweep()
    for number in range(20):
        dead_run(worker=f"worker-{number}")
    assert statements_of_a_sweep() == of_one


def test_runs_that_cannot_be_recovered_never_starve_the_next(settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_PAGE_SIZE = 2
    for number in range(5):
        run(age=4 * THRESHOLD, worker=f"stuck-{number}", queue="gone")
    good = dead_run()
    swept = sweeps.sweep("test")
    assert (swept.skipped, swept.requeued) == (5, 1)
    assert Job.objects.get(pk=good.pk).status == Status.PENDING


def test_row_that_the_database_refuses_fails_alone() -> None:
    made = [dead_run(worker=f"worker-{number}") for number in range(7)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"ALTER TABLE jobs ADD CONSTRAINT theirs CHECK (id <> '{made[3].pk}' OR status = 'in_progress')"
        )
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued, swept.errors) == (7, 6, 1)
    assert "theirs" in swept.details["lines"][0]
    assert Job.objects.get(pk=made[3].pk).status == Status.IN_PROGRESS
    assert not JobEvent.objects.filter(job=made[3]).exists()


# Mass staleness


@pytest.fixture
def mass(settings: Any) -> list[Job]:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 4
    return [dead_run(worker=f"worker-{number}") for number in range(4)]


def test_mass_staleness_holds_for_one_threshold(mass: list[Job]) -> None:
    swept = sweeps.sweep("test")
    assert (swept.mode, swept.requeued) == (Sweep.Mode.HELD, 0)
    assert Alert.objects.open().get().title == "4 runs went silent at once"
    held = RecoveryControl.load()
    assert held.hold_until is not None and held.hold_started_at is not None
    assert held.hold_until - held.hold_started_at == THRESHOLD
    assert sweeps.sweep("test").mode == Sweep.Mode.HELD


def test_needless_hold_ends_with_its_alert_also_while_recovery_only_observes(mass: list[Job]) -> None:
    sweeps.sweep("test")
    control.disarm(OPERATOR, "to be looked at")
    sweeps.sweep("test")
    assert Alert.objects.open().count() == 1 and RecoveryControl.load().hold_until is not None

    for number, made in enumerate(mass):
        beat(f"worker-{number}", made.pk, 1)
    assert sweeps.sweep("test").mode == Sweep.Mode.OBSERVE
    assert not Alert.objects.open().exists() and RecoveryControl.load().hold_until is None


@pytest.mark.parametrize(("alive", "expected"), [(4, Sweep.Mode.HELD), (5, Sweep.Mode.ARMED)])
def test_mass_means_half_of_those_running(mass: list[Job], alive: int, expected: str) -> None:
    for number in range(alive):
        run(age=THRESHOLD, silent=SECOND, worker=f"alive-{number}")
    assert sweeps.sweep("test").mode == expected


def test_one_run_fewer_is_no_mass_staleness(mass: list[Job]) -> None:
    beat("worker-0", mass[0].pk, 1)
    assert sweeps.sweep("test").requeued == 3


def test_after_the_hold_recoveries_are_not_counted(mass: list[Job], settings: Any) -> None:
    settings.OPSCONSOLE_SWEEP_LIMIT, settings.OPSCONSOLE_SWEEP_PAGE_SIZE = 2, 2
    sweeps.sweep("test")
    RecoveryControl.objects.update(hold_until=Now() - SECOND)
    assert sweeps.sweep("test").requeued == 2
    assert sweeps.sweep("test").requeued == 2, "the rest of the same mass is not held again"
    assert set(Job.objects.values_list("recovery_count", flat=True)) == {0}


def test_operator_releases_the_hold(mass: list[Job]) -> None:
    sweeps.sweep("test")
    assert control.release_hold(OPERATOR, "the network is back, they are dead")
    assert sweeps.sweep("test").requeued == 4
    assert control.release_hold(OPERATOR, "again") is False


def test_returning_workers_end_the_hold(mass: list[Job]) -> None:
    sweeps.sweep("test")
    for dead in mass:
        beat(dead.worker_id or "", dead.pk, 1)
    swept = sweeps.sweep("test")
    assert (swept.mode, swept.found) == (Sweep.Mode.ARMED, 0)
    assert RecoveryControl.load().hold_until is None
    assert not Alert.objects.open().exists()


@pytest.mark.parametrize(("newer", "expected"), [(3, Sweep.Mode.ARMED), (4, Sweep.Mode.HELD)])
def test_runs_older_than_the_cutoff_do_not_count_as_mass(settings: Any, newer: int, expected: str) -> None:
    """Ignore runs that are never recovered automatically: they must not delay new ones."""
    settings.OPSCONSOLE_MASS_STALE_RUNS = 4
    cutoff = timezone.now() - 6 * THRESHOLD
    control.arm(OPERATOR, "attached", cutoff)
    for number in range(8):
        run(age=9 * THRESHOLD, silent=2 * THRESHOLD, worker=f"old-{number}")
    for number in range(newer):
        run(age=3 * THRESHOLD, silent=2 * THRESHOLD, worker=f"new-{number}")
    swept = sweeps.sweep("test")
    assert swept.mode == expected
    assert swept.requeued == (newer if expected == Sweep.Mode.ARMED else 0)
    assert Alert.objects.open().exists() is (expected == Sweep.Mode.HELD)


@pytest.mark.usefixtures("rules_without_delay")
def test_hung_run_is_alerted_and_left_alone() -> None:
    hung = run(age=timedelta(hours=2), silent=SECOND)
    sweeps.sweep("test")
    alert = Alert.objects.open().get(fingerprint="hung-runs")
    assert alert.title.startswith("1 run past the deadline")
    assert str(hung.pk) in alert.facts[0][1]
    assert alert.links == [[f"Job {short_id(hung.pk)}", f"/admin/jobs/job/{hung.pk}/change/"]]
    assert Job.objects.get(pk=hung.pk).status == Status.IN_PROGRESS
    lifecycle.complete(Run(hung.pk, 1, Worker("worker-1")))
    sweeps.sweep("test")
    assert not Alert.objects.open().exists()


# Outages


def test_gap_without_sweeps_excuses_silent_workers() -> None:
    sweeps.sweep("test")
    Sweep.objects.update(finished_at=Now() - timedelta(minutes=30))
    dead_run()
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued) == (0, 0)
    assert "Staleness counts from now" in swept.note
    RecoveryControl.objects.update(outage_ended_at=Now() - THRESHOLD - SECOND)
    assert sweeps.sweep("test").requeued == 1


@pytest.mark.parametrize(("gap", "expected"), [(299, 1), (302, 0)])
def test_gap_shorter_than_half_the_threshold_is_normal(gap: int, expected: int) -> None:
    sweeps.sweep("test")
    Sweep.objects.update(finished_at=Now() - gap * SECOND)
    dead_run()
    assert sweeps.sweep("test").requeued == expected


# Races, on real connections


@pytest.fixture
def between_lock_and_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function that runs another on its own connection after the page is locked and before it is written."""

    def install(interlude: Callable[[], object]) -> None:
        recover = batches.recover

        def wrapped(*given: Any) -> Totals:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(_on_own_connection, interlude).result(timeout=10)
            return recover(*given)

        monkeypatch.setattr(batches, "recover", wrapped)

    return install


def _on_own_connection(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        connection.close()


@pytest.fixture
def isolation(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    """Make an isolation level the default of the database, for the connections that are opened from now on."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{request.param}'")
    connection.close()
    yield request.param
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_isolation")
    connection.close()


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"], indirect=True)
def test_beat_committed_after_the_lock_wins(between_lock_and_write: Any, isolation: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW default_transaction_isolation")
        assert cursor.fetchone() == (isolation,)
    _arm_again()
    dead = dead_run()
    between_lock_and_write(lambda: heartbeats.say(Worker("worker-1"), dead.pk, 1))
    swept = sweeps.sweep("test")
    assert (swept.found, swept.requeued, swept.skipped) == (1, 0, 1)
    assert Job.objects.get(pk=dead.pk).run_epoch == 1
    assert not Outbox.objects.exists() and not JobEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("within", "expected"), [(False, ["off", "on"]), (True, ["on", "on"])])
def test_pages_wait_for_the_disk_together_at_the_commit_of_the_sweep(
    monkeypatch: pytest.MonkeyPatch, within: bool, expected: list[str]
) -> None:
    _arm_again()
    dead_run()
    seen: list[str] = []

    def look_before(function: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*args: Any) -> Any:
            with connection.cursor() as cursor:
                cursor.execute("SHOW synchronous_commit")
                seen.append(cursor.fetchone()[0])
            return function(*args)

        return looked

    monkeypatch.setattr(batches, "recover", look_before(batches.recover))
    monkeypatch.setattr(sweeps, "_note", lambda *_, **__: look_before(str)())
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = on")
    try:
        with transaction.atomic() if within else nullcontext():
            assert sweeps.sweep("test").requeued == 1
    finally:
        connection.close()
    assert seen == expected


@pytest.mark.django_db(transaction=True)
def test_run_held_by_a_finishing_worker_is_passed_over() -> None:
    _arm_again()
    dead = dead_run()
    finishing, swept = threading.Event(), threading.Event()

    def finish() -> bool:
        with transaction.atomic():
            done = lifecycle.complete(Run(dead.pk, 1, Worker("worker-1")))
            finishing.set()
            assert swept.wait(10)
            return done

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(_on_own_connection, finish)
        assert finishing.wait(10)
        assert sweeps.sweep("test").requeued == 0
        swept.set()
        assert result.result(10) is True
    assert Job.objects.get(pk=dead.pk).status == Status.COMPLETED


@pytest.mark.django_db(transaction=True)
def test_refused_page_is_locked_again_before_its_rows_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Respect changes made after the failed transaction released its locks."""
    _arm_again()
    bad, alive, taken, dead = (dead_run(worker=f"worker-{number}") for number in range(4))
    requeue = rescue.requeue
    is_locked, swept = threading.Event(), threading.Event()

    def refused(decisions: Any) -> Any:
        if bad.pk in {decision.run.pk for decision in decisions}:
            Job.objects.filter(pk=bad.pk).update(package_size=2**40)
        return requeue(decisions)

    def hold() -> None:
        with transaction.atomic():
            locked(Job.objects.filter(pk=taken.pk)).get()
            is_locked.set()
            assert swept.wait(10)

    def meanwhile(page: Any) -> Any:
        if not holding:
            others.submit(_on_own_connection, lambda: heartbeats.say(Worker("worker-1"), alive.pk, 1)).result(
                10
            )
            holding.append(others.submit(_on_own_connection, hold))
            assert is_locked.wait(10)
        return lock_again(page)

    monkeypatch.setattr(rescue, "requeue", refused)
    monkeypatch.setattr(batches, "lock_again", meanwhile)
    holding: list[Future[None]] = []
    with ThreadPoolExecutor(1) as others:
        found = sweeps.sweep("test")
        swept.set()
        holding[0].result(10)
    assert (found.requeued, found.errors, found.skipped, found.locked) == (1, 1, 1, 1)
    assert dict(Job.objects.values_list("pk", "run_epoch")) == {
        bad.pk: 1,
        alive.pk: 1,
        taken.pk: 1,
        dead.pk: 2,
    }
    assert JobEvent.objects.count() == Outbox.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_sweeps_at_once_recover_each_run_once(settings: Any) -> None:
    _arm_again()
    settings.OPSCONSOLE_SWEEP_PAGE_SIZE = 7
    ids = {dead_run(worker=f"worker-{number}").pk for number in range(60)}
    gate = threading.Barrier(4)

    def one() -> Sweep:
        gate.wait(10)
        return sweeps.sweep("test")

    with ThreadPoolExecutor(4) as pool:
        rows = [future.result(30) for future in [pool.submit(_on_own_connection, one) for _ in range(4)]]
    recovered = sum(row.requeued for row in rows) + sweeps.sweep("test").requeued
    assert recovered == len(ids)
    assert set(Job.objects.values_list("run_epoch", "status")) == {(2, "pending")}
    assert Outbox.objects.count() == JobEvent.objects.count() == len(ids)


def _arm_again() -> None:
    """Arm recovery, because tests with real transactions start with emptied tables."""
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(OPERATOR, "tests", cutoff=None)


def test_finding_stale_runs_changes_nothing() -> None:
    dead_run()
    outlook.preview(surroundings.read(), 10)
    assert not JobEvent.objects.exists() and not Sweep.objects.exists()
    assert job().status == Status.PENDING
