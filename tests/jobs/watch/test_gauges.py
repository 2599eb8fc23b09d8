"""Tests of the gauges for alert rules: each boundary, and unknown values, which are not zero."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from alerts.models import Alert, Gauge, Monitor, Notification
from jobs import tasks
from jobs.inspection import inspect_database
from jobs.messaging import queue_depths
from jobs.models import Job, JobEvent, Outbox, QueueState, RecoveryControl, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import surroundings, sweeps
from jobs.runs.timeline import Actor
from jobs.watch import gauges, lost_workers, message_gauges, run_gauges, worker_gauges
from jobs.watch.gauge_reading import Reading
from opsconsole import overview
from opsconsole.kit import counting, pauses
from opsconsole.kit.short_ids import short_id
from opsconsole.overview import current_figures, findings
from opsconsole_worker.environment import QueueConfig
from tests.conftest import TestQueue
from tests.factories import beat, forget_looks, job, letter, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def open_alert(fingerprint: str) -> Alert | None:
    return Alert.objects.open().filter(fingerprint=fingerprint).first()


def event(kind: str, *, ago: timedelta = timedelta(0), actor: str = "sweep") -> None:
    JobEvent.objects.create(
        job_id=job(status=Status.COMPLETED).pk, run_epoch=1, kind=kind, actor=actor, at=Now() - ago
    )


# --- stale jobs in a day ---


def test_sixth_stale_job_in_a_day_raises_one_alert() -> None:
    for _ in range(3):
        event("recovered", ago=HOUR)
    event("quarantined", ago=23 * HOUR)
    run(age=HOUR, silent=HOUR)
    gauges.watch()
    assert open_alert("stale_jobs_day") is None

    run(age=HOUR, silent=HOUR, worker="worker-2")
    gauges.watch()
    gauges.watch()

    alert = open_alert("stale_jobs_day")
    assert alert and (alert.value, alert.threshold) == (6, 5)
    assert alert.title == "6 jobs lost their worker within 24 hours"
    assert alert.facts[:3] == [["Runs started again", "3"], ["Quarantined", "1"], ["Stale now", "2"]]
    [label, told] = alert.facts[3]
    assert label == "Recovery" and re.match(r"As of \d{4}-\d\d-\d\d \d\d:\d\d UTC: ", told)
    assert " UTC: The next sweep recovers what may be recovered." in told
    assert Notification.objects.filter(alert=alert).count() == 1


def test_alert_about_stale_jobs_promises_no_recovery_during_a_pause() -> None:
    """Say only that recovery is paused, not what happens to each job, because some jobs are left to operators."""
    for number in range(6):
        run(age=HOUR, silent=HOUR, worker=f"worker-{number}")
    pauses.begin(pauses.RECOVERY, by="olga", reason="deploy")
    gauges.watch()
    alert = open_alert("stale_jobs_day")
    assert alert and "Recovery is paused until somebody resumes it." in alert.facts[-1][1]
    assert "next sweep" not in alert.facts[-1][1] + alert.summary


def test_older_and_other_events_do_not_count() -> None:
    event("recovered", ago=24 * HOUR + MINUTE)
    event("requeued", actor="operator:olga")
    event("quarantined", actor="operator:olga")
    event("completed")
    run(age=HOUR, silent=SECOND)
    assert run_gauges.stale_jobs_day().value == 0


@pytest.mark.django_db(transaction=True)
def test_job_that_loses_two_workers_in_a_day_counts_once_as_in_the_list(
    sqs_queue: TestQueue, settings: Settings
) -> None:
    RecoveryControl.objects.get_or_create(pk=1)
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.ARMED)
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    stale = run(age=HOUR, silent=HOUR)
    assert run_gauges.stale_jobs_day().value == 1
    queue_depths.refresh_queue_states()
    sweeps.sweep("test")
    stale.refresh_from_db()
    assert stale.status == Status.PENDING
    assert run_gauges.stale_jobs_day().value == 1

    stale.status, stale.claimed_epoch, stale.worker_id = Status.IN_PROGRESS, stale.run_epoch, "worker-1"
    stale.save()
    type(stale).objects.update(updated_at=Now() - HOUR, started_at=Now() - HOUR)
    assert run_gauges.stale_jobs_day().value == lost_workers.within_a_day().count() == 1
    RecoveryControl.objects.update(mode=RecoveryControl.Mode.OBSERVE)


def test_evidence_is_weighed_only_where_a_run_may_be_silent() -> None:
    def weighed() -> int:
        with CaptureQueriesContext(connection) as captured:
            run_gauges.stale_jobs_day()
            run_gauges.unknown_runs()
        return sum("death_proven" in each["sql"] or "worker_heartbeats" in each["sql"] for each in captured)

    job(status=Status.COMPLETED)
    fresh = run(age=SECOND)
    assert weighed() == 0
    Job.objects.filter(pk=fresh.pk).update(updated_at=Now() - HOUR)
    assert weighed() > 0


def test_jobs_that_lost_workers_are_counted_while_nothing_runs() -> None:
    event("recovered", ago=HOUR)
    told = run_gauges.stale_jobs_day()
    assert told.value == 1
    assert ("Runs started again", "1") in told.words.facts


# --- quarantine ---


def test_alert_on_quarantined_jobs_lasts_until_release() -> None:
    gauges.watch()
    assert open_alert("quarantined_jobs") is None
    held = job(status=Status.QUARANTINED, customer_id="ACME <!channel>")
    gauges.watch()
    alert = open_alert("quarantined_jobs")
    assert alert and alert.title == "1 job in quarantine"
    assert alert.facts == [["Newest", f"ACME <!channel>: job {held.pk}, queue {held.queue}"]]
    assert alert.links == [[f"Job {short_id(held.pk)}", f"/admin/jobs/job/{held.pk}/change/"]]
    assert alert.link == "/admin/jobs/job/?status=quarantined"

    held.status = Status.PENDING
    held.save()
    gauges.watch()

    assert open_alert("quarantined_jobs") is None


# --- messages that are not sent ---


@pytest.mark.parametrize(
    ("stuck", "fields"),
    [
        (False, {"due": 4 * MINUTE}),
        (True, {"due": 6 * MINUTE}),
        # The message is held until its job may start.
        (False, {"due": -HOUR, "created_at": Now() - HOUR}),
        # Failed attempts postpone the message, so it is never overdue for long.
        (True, {"due": -MINUTE, "created_at": Now() - 6 * MINUTE, "attempts": 2}),
        (False, {"due": -MINUTE, "created_at": Now() - 4 * MINUTE, "attempts": 9}),
        (False, {"due": -MINUTE, "created_at": Now() - HOUR, "attempts": 1}),
        (False, {"due": HOUR, "created_at": Now() - HOUR, "state": Outbox.State.SENT}),
        (False, {"due": HOUR, "created_at": Now() - HOUR, "state": Outbox.State.REFUSED}),
        (False, {"due": HOUR, "created_at": Now() - HOUR, "state": Outbox.State.DROPPED}),
    ],
)
def test_alert_on_overdue_messages(stuck: bool, fields: dict[str, Any]) -> None:
    letter(job(), **fields)
    gauges.watch()
    assert bool(open_alert("outbox_stuck")) is stuck


def test_alert_says_whether_sqs_or_the_dispatcher_is_to_blame() -> None:
    letter(job(), due=HOUR)
    assert message_gauges.outbox_stuck().words.summary == "Nobody sends them: see that the dispatcher runs."
    letter(job(), due=HOUR, attempts=3, last_error="AccessDenied.")
    told = message_gauges.outbox_stuck()
    assert (told.value, told.words.summary) == (2, "SQS does not take them.")
    assert told.words.facts == (("SQS says", "AccessDenied."),)


# --- jobs that the database does not let start ---


def test_alert_names_the_rule_that_keeps_jobs_from_starting() -> None:
    waiting, others = job(), [job(), job(status=Status.IN_PROGRESS), job(run_epoch=2)]
    rules = {waiting: "constraint 'one_running' of table 'jobs'"} | dict.fromkeys(others, "other")
    for refused, rule in rules.items():
        age = MINUTE if refused == others[0] else HOUR
        JobEvent.objects.create(
            job=refused, run_epoch=1, kind="claim_refused", at=Now() - age, details={"rule": rule}
        )
    gauges.watch()
    alert = open_alert("refused_claims")
    assert alert and alert.title == "1 job can't start: the database refuses the claim"
    assert alert.facts[0] == ["Refused by", "constraint 'one_running' of table 'jobs': 1 job"]
    assert alert.link == f"/admin/jobs/job/{waiting.pk}/change/"
    overview.memory.clear()
    around = surroundings.read()
    [told] = [each for each in findings(current_figures.read(), around) if "refused" in each.sentence]
    assert "1 job start for 15 min or longer: constraint 'one_running'" in told.sentence
    Job.objects.update(status=Status.IN_PROGRESS)
    gauges.watch()
    assert open_alert("refused_claims") is None


# --- unknown runs and wrong clocks ---


def test_alert_on_unknown_runs_resolves_when_they_are_known() -> None:
    unheard = run(age=13 * 60 * MINUTE, claimed=False)
    gauges.watch()
    alert = open_alert("unknown_runs")
    assert alert and alert.title == "1 silent run, and it is unknown whether they are alive"
    assert "Unknown runs are left to operators." in alert.summary
    beat("worker-1", unheard.pk)
    gauges.watch()
    assert open_alert("unknown_runs") is None


@pytest.fixture
def one_queue(settings: Settings) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}


@pytest.mark.usefixtures("one_queue")
def test_alert_on_runs_that_wait_for_an_operator_lasts_until_somebody_decides(settings: Settings) -> None:
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("default",)
    gauges.watch()
    assert open_alert("runs_by_hand") is None

    left = run(age=HOUR, silent=HOUR)
    run(age=HOUR, silent=SECOND, worker="alive")
    gauges.watch()
    alert = open_alert("runs_by_hand")
    assert alert and alert.title == "1 run waits for an operator"
    assert alert.link == "/admin/jobs/job/?stale=by_hand" and str(left.pk) in alert.facts[0][1]
    assert alert.links == [[f"Job {short_id(left.pk)}", f"/admin/jobs/job/{left.pk}/change/"]]
    overview.memory.clear()
    assert current_figures.read().stale_by_hand == alert.value == 1
    # What the figure and its alert both say is said once.
    told = findings(current_figures.read(), surroundings.read())
    assert [each.sentence for each in told if "operator" in each.sentence] == [
        "1 run lost its worker and waits for an operator."
    ]

    job_operations.carry_out(
        job_operations.plan(JobAction.REQUEUE, [left.pk]), Actor.operator("olga", None), "Nothing was paid."
    )
    gauges.watch()
    assert open_alert("runs_by_hand") is None


@pytest.mark.usefixtures("one_queue")
@pytest.mark.parametrize("by_hand", [(), ("another",)])
def test_runs_that_sweeps_may_take_wait_for_nobody(settings: Settings, by_hand: tuple[str, ...]) -> None:
    settings.OPSCONSOLE_RECOVERY_BY_HAND = by_hand
    run(age=HOUR, silent=HOUR)
    assert run_gauges.runs_by_hand().value == 0


@pytest.mark.usefixtures("one_queue")
def test_runs_from_before_the_cutoff_are_not_counted_as_waiting_for_an_operator(settings: Settings) -> None:
    settings.OPSCONSOLE_RECOVERY_BY_HAND = ("default",)
    run(age=2 * HOUR, silent=HOUR)
    assert run_gauges.runs_by_hand().value == 1
    RecoveryControl.objects.update_or_create(pk=1, defaults={"cutoff": Now() - HOUR})
    assert run_gauges.runs_by_hand().value == 0


def test_alert_on_wrong_clocks_names_worker_and_offset() -> None:
    beat("ahead", ago=-2 * 24 * 60 * MINUTE)
    beat("right")
    gauges.watch()
    alert = open_alert("worker_clocks")
    assert alert and alert.title == "1 worker has a wrong clock"
    assert alert.facts == [["ahead", "2 d ahead"]]
    assert alert.links == [["Worker ahead", "/admin/jobs/workerheartbeat/ahead/change/"]]
    beat("ahead")
    gauges.watch()
    assert open_alert("worker_clocks") is None


# --- visibility timeouts ---


def test_alert_on_a_timeout_shorter_than_runs_tells_the_numbers_everywhere(operator: Any) -> None:
    for minutes in range(1, 21):
        job(status=Status.COMPLETED, started_at=Now() - minutes * MINUTE, completed_at=Now())
    job(status=Status.COMPLETED, claimed_epoch=1, started_at=Now() - 3 * HOUR, completed_at=Now())
    QueueState.objects.update_or_create(name="default", defaults={"visibility_timeout_seconds": 30})

    gauges.watch()

    alert = open_alert("short_visibility")
    assert alert and alert.title == "1 queue delivers messages again during their runs"
    [[subject, sentence]] = alert.facts
    assert subject == "Queue 'default'"
    assert sentence.startswith(
        "Its visibility timeout is 30 s. Of the last 20 runs without the console's protocol, the longest took 20 min, and "
        "95 of 100 took at most 20 min."
    )
    [finding] = [each for each in inspect_database() if each.id == "visibility-timeout-short"]
    assert finding.severity == "warning" and "--attributes VisibilityTimeout=2401" in finding.action
    assert "the longest took 20 min" in operator.get("/admin/jobs/workerheartbeat/").content.decode()

    QueueState.objects.update(visibility_timeout_seconds=1_260)
    gauges.watch()
    assert open_alert("short_visibility") is None


# --- no live worker ---


def test_alert_on_pending_jobs_without_live_worker() -> None:
    job(updated_at=Now() - 3 * MINUTE)
    beat("worker-1", ago=4 * MINUTE)
    gauges.watch()
    assert open_alert("no_live_worker") is None

    forget_looks()
    beat("worker-1", ago=6 * MINUTE)
    gauges.watch()
    alert = open_alert("no_live_worker")
    assert alert and alert.title == "1 job waits and no worker is alive"
    assert alert.severity == "critical"

    beat("worker-1")
    gauges.watch()
    assert open_alert("no_live_worker") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"updated_at": Now() - MINUTE},
        {"updated_at": Now() - HOUR, "not_before": Now() + HOUR},
        {"updated_at": Now() - HOUR, "not_before": Now() - MINUTE},
        {"updated_at": Now() - HOUR, "status": Status.IN_PROGRESS},
    ],
)
def test_missing_workers_raise_no_alert_without_startable_job(fields: dict[str, Any]) -> None:
    job(**fields)
    assert worker_gauges.no_live_worker().value == 0


# --- queues that can't be read ---


def queue(name: str = "default", **fields: Any) -> None:
    QueueState.objects.update_or_create(name=name, defaults=fields)


@pytest.fixture
def two_queues(settings: Settings) -> None:
    settings.QUEUES = {name: QueueConfig(name, f"https://x/{name}", None) for name in ("default", "slow")}


@pytest.mark.usefixtures("two_queues")
def test_second_failed_reading_raises_alert() -> None:
    queue(read_at=Now() - MINUTE, checked_at=Now(), error="AccessDenied")
    queue("slow", read_at=Now(), checked_at=Now(), error="")
    gauges.judge_queues()
    assert not Alert.objects.exists()

    queue(read_at=Now() - 2 * MINUTE, checked_at=Now(), error="AccessDenied")
    gauges.judge_queues()
    gauges.judge_queues()

    alert = Alert.objects.get()
    assert (alert.fingerprint, alert.severity) == ("queue_unreadable:default", "critical")
    assert alert.facts[0] == ["SQS says", "AccessDenied"]
    assert alert.link == "/admin/jobs/queuestate/default/change/"
    assert Notification.objects.count() == 1

    queue(read_at=Now(), checked_at=Now(), error="")
    gauges.judge_queues()
    assert not Alert.objects.open().exists()


@pytest.mark.usefixtures("two_queues")
def test_queue_never_read_raises_alert() -> None:
    queue(read_at=None, checked_at=Now(), error="NonExistentQueue")
    gauges.judge_queues()
    assert ["Last read", "never"] in Alert.objects.get().facts


@pytest.mark.usefixtures("two_queues")
def test_second_failure_does_not_resolve_alert_meanwhile() -> None:
    """Ignore the first failed reading after a success, but do not resolve an open alert."""
    queue(read_at=Now() - HOUR, checked_at=Now(), error="AccessDenied")
    gauges.judge_queues()
    queue(read_at=Now() - MINUTE, checked_at=Now(), error="AccessDenied")
    gauges.judge_queues()
    assert Alert.objects.open().exists()


@pytest.mark.usefixtures("two_queues")
def test_queue_no_longer_configured_raises_no_alert(settings: Settings) -> None:
    queue(read_at=None, checked_at=Now(), error="NonExistentQueue")
    gauges.judge_queues()
    settings.QUEUES = {"slow": settings.QUEUES["slow"]}
    queue_depths._forget_others()
    gauges.judge_queues()
    assert not Alert.objects.open().exists()


# --- all gauges ---


def test_unreadable_gauge_is_unknown_and_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job(status=Status.QUARANTINED)
    gauges.watch()

    def fail() -> Reading:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        raise AssertionError

    monkeypatch.setitem(gauges.GAUGES, "quarantined_jobs", fail)
    for _ in range(6):
        event("recovered")

    assert "quarantined_jobs: unknown" in gauges.watch()

    alert = open_alert("quarantined_jobs")
    assert alert and alert.unknown_why == "division by zero"
    assert Gauge.objects.get(pk="quarantined_jobs").value == 1
    assert open_alert("stale_jobs_day")


def test_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "COUNTED_TO", 2)
    for _ in range(5):
        job(status=Status.QUARANTINED)
    told = run_gauges.quarantined_jobs()
    assert (told.value, told.words.title) == (3, "2+ jobs in quarantine")


def test_measuring_takes_bounded_number_of_queries(settings: Settings) -> None:
    """Check that the number of queries does not grow with the number of rows."""

    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            gauges.watch()
        return len(queries)

    def lose_workers(numbers: range) -> None:
        for number in numbers:
            event("recovered", ago=23 * HOUR)
            run(age=HOUR, silent=HOUR, worker=f"worker-{number}")
        # The first look at something new has more to write.
        gauges.watch()

    settings.QUEUES = {}
    gauges.watch()
    quiet = asked()
    lose_workers(range(6))
    few = asked()
    # Fewer than hold recovery.
    lose_workers(range(6, 18))
    assert quiet < few
    assert asked() < few + 6


def test_tasks_record_their_success(settings: Settings, sqs_queue: TestQueue) -> None:
    tasks.refresh_queues()
    tasks.watch()
    tasks.sweep()
    found = dict(Monitor.objects.values_list("name", "interval"))
    assert found == {
        "reading of queues": 2 * MINUTE,
        "watch of figures": 2 * MINUTE,
        "sweep": timedelta(seconds=settings.OPSCONSOLE_SWEEP_INTERVAL_SECONDS),
    }


def test_failed_sweep_records_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise DatabaseError("deadlock detected")

    monkeypatch.setattr(sweeps, "sweep", fail)
    with pytest.raises(DatabaseError):
        tasks.sweep()
    assert not Monitor.objects.exists()
