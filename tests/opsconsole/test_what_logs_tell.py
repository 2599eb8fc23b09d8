"""Tests that each thing done has one line in the log, with the ids that it is about."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from alerts import notify
from alerts.notify import Trouble
from alerts.sending import delivery
from jobs.dead_letters import operations
from jobs.intake import enqueue
from jobs.intake.enqueue import NewJob
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging import dispatcher
from jobs.models import Outbox, QueueState, RecoveryControl, Status
from jobs.operations import job_operations
from jobs.operations.steps import JobAction
from jobs.recovery import control, sweeps
from jobs.runs.timeline import Actor
from opsconsole.kit import pauses
from opsconsole.logs import JSON, TEXT, LineFormatter
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Run
from tests import factories
from tests.conftest import TestQueue
from tests.factories import SECOND
from tests.fakes.slack import serve

pytestmark = pytest.mark.django_db

Lines = list[dict[str, Any]]
OLGA = Actor.operator("olga", None)
HOUR = timedelta(hours=1)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any) -> Callable[[], Any]:
    """Return a context that yields the lines of what is done in it, as a collector of JSON reads them."""
    caplog.set_level(logging.INFO, "opsconsole.activity")

    @contextmanager
    def lines() -> Iterator[Lines]:
        caplog.clear()
        read: Lines = []
        with django_capture_on_commit_callbacks(execute=True):
            yield read
        formatter = LineFormatter(JSON)
        read += [
            json.loads(formatter.format(record))
            for record in caplog.records
            if record.name == "opsconsole.activity"
        ]

    return lines


def one(lines: Lines, event: str) -> dict[str, Any]:
    [line] = [line for line in lines if line["event"] == event]
    return line


def has(line: dict[str, Any], **facts: object) -> bool:
    return {name: str(line.get(name)) for name in facts} == {name: str(fact) for name, fact in facts.items()}


@pytest.fixture
def armed() -> None:
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(OLGA, "tests", cutoff=None)


@pytest.mark.usefixtures("armed")
def test_sweep_tells_what_it_recovered_and_quarantined(told: Any, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    stale = factories.run(age=HOUR, silent=HOUR, worker="w-1")
    doomed = factories.run(age=HOUR, silent=HOUR, worker="w-2", recovery_count=3)
    with told() as lines:
        sweep = sweeps.sweep("test")
    assert has(
        one(lines, "job recovered"), job=stale.pk, run=1, worker="w-1", sweep=sweep.pk, level="WARNING"
    )
    assert has(one(lines, "job quarantined"), job=doomed.pk, run=1, worker="w-2", sweep=sweep.pk)
    assert has(one(lines, "sweep ended"), sweep=sweep.pk, found=2, recovered=2)


@pytest.mark.usefixtures("armed")
def test_sweep_tells_of_each_run_that_it_recovers_ten_per_line(told: Any, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/d")}
    stale = {str(factories.run(age=HOUR, silent=HOUR, worker=f"w-{n}").pk): f"w-{n}" for n in range(12)}
    with told() as lines:
        sweep = sweeps.sweep("test")
    recovered = [line for line in lines if line["event"] == "job recovered"]
    assert len(recovered) == 2 and all(has(line, sweep=sweep.pk, level="WARNING") for line in recovered)
    rows = [row for line in recovered for row in line["each"]]
    assert {row["job"]: row["worker"] for row in rows} == stale and len(rows) == 12
    assert all(row["run"] == 1 and row["why"] for row in rows)


def test_each_of_many_that_are_enqueued_at_once_is_told(told: Any, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://x/default", None)}
    with told() as lines:
        ids = enqueue.enqueue_many([NewJob(customer_id="c-1", package_size=50) for _ in range(21)])
    assert [(line["event"], line.get("count"), line["actor"]) for line in lines] == [
        ("job enqueued", 10, "console"),
        ("job enqueued", 10, "console"),
        ("job enqueued", None, "console"),
    ]
    rows = [row for line in lines for row in line.get("each", [line])]
    assert [row["job"] for row in rows] == [str(job_id) for job_id in ids]
    assert {row["run"] for row in rows} == {1}


@pytest.mark.usefixtures("armed")
def test_sweep_tells_which_message_it_sends_again(told: Any, sqs_queue: TestQueue) -> None:
    QueueState.objects.create(name="default", visible=0, in_flight=0, delayed=0, read_at=Now())
    lost = factories.job(updated_at=Now() - 48 * HOUR, created_at=Now() - 48 * HOUR)
    factories.letter(lost, state="sent", sent_at=Now() - 48 * HOUR, attempts=1)
    with told() as lines:
        sweep = sweeps.sweep("test")
    assert has(one(lines, "job resent"), job=lost.pk, run=1, queue="default", sweep=sweep.pk)
    with told() as lines:
        dispatcher.dispatch()
    line = one(lines, "message sent")
    assert has(line, job=lost.pk, run=1, to="default/queue") and line["message"]


@pytest.mark.parametrize("style", [TEXT, JSON])
def test_each_message_that_is_sent_is_told_with_its_ids_ten_per_line(
    style: str,
    sqs_queue: TestQueue,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    """Whoever looks for the id of a job finds its run, the queue and the id that SQS gave."""
    caplog.set_level(logging.INFO, "opsconsole.activity")
    for _ in range(23):
        factories.letter(factories.job())
    with django_capture_on_commit_callbacks(execute=True):
        dispatcher.dispatch()
    lines = [LineFormatter(style).format(record) for record in caplog.records]
    assert len(lines) == 3
    rows = Outbox.objects.filter(state="sent")
    assert len(rows) == 23
    for row in rows:
        found = [line for line in lines if str(row.job_id) in line]
        assert (
            len(found) == 1 and "default/queue" in found[0] and " message sent" in found[0].replace('"', " ")
        )
        if style == TEXT:
            assert f" job={row.job_id} run=1 message={row.message_id}" in found[0]
        else:
            facts = {"job": str(row.job_id), "run": 1, "message": row.message_id}
            assert facts in json.loads(found[0])["each"]


def test_each_message_that_is_refused_is_told_with_its_reason(
    told: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://x/default", None)}
    for _ in range(12):
        factories.letter(factories.job())
    monkeypatch.setattr(sqs, "send_batch", _refuse_each_second)
    with told() as lines:
        dispatcher.dispatch()
    refused = [row for line in lines if line["event"] == "message refused" for row in line["each"]]
    sent = [row for line in lines if line["event"] == "message sent" for row in line["each"]]
    assert len(refused) == len(sent) == 6 and len({row["job"] for row in refused + sent}) == 12
    assert {row["why"] for row in refused} == {"SQS refused it: too long"} and "why" not in repr(sent)
    assert {line["level"] for line in lines if line["event"] == "message refused"} == {"WARNING"}


def _refuse_each_second(_: str, messages: Sequence[sqs.Outgoing]) -> list[sqs.SendResult]:
    return [
        sqs.SendResult(each.key, error="SQS refused it: too long", permanent=True)
        if place % 2
        else sqs.SendResult(each.key, message_id=f"m-{each.key}")
        for place, each in enumerate(messages)
    ]


def test_life_of_a_run_is_told_with_its_worker(told: Any, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://x/default", None)}
    with told() as lines:
        job = enqueue.enqueue(NewJob(customer_id="c-1", package_size=50, payload={"card": "CARD-4111"}))
        worker, other = Worker("w-1"), Worker("w-2")
        lifecycle.claim(job.pk, 1, worker)
        lifecycle.claim(job.pk, 1, other)
        lifecycle.fail(Run(job.pk, 1, worker), "CARD-4111 declined")
        lifecycle.complete(Run(job.pk, 1, worker))
    assert [line["event"] for line in lines] == [
        "job enqueued",
        "job claimed",
        "claim refused",
        "job retry scheduled",
        "job late result rejected",
    ]
    assert all(has(line, job=job.pk, run=1) for line in lines)
    assert [line.get("worker") for line in lines] == [None, "w-1", "w-2", "w-1", "w-1"]
    assert lines[2]["why"] == "the run was claimed before"
    assert "CARD-4111" not in repr(lines)


def test_what_an_operator_does_and_what_is_refused(told: Any) -> None:
    failed, done = factories.job(status=Status.FAILED), factories.job(status=Status.COMPLETED)
    steps = job_operations.plan(JobAction.REQUEUE, [failed.pk, done.pk])
    with told() as lines:
        job_operations.carry_out(steps, OLGA, "the directory is back")
    assert has(one(lines, "job requeued"), job=failed.pk, run=2, actor="operator:olga")
    assert has(one(lines, "requeue refused"), job=done.pk, actor="operator:olga")


def test_dead_letters_decided_about(told: Any) -> None:
    letter = factories.dead_letter()
    steps = operations.plan(LetterAction.DISCARD, [letter.pk])
    with told() as lines:
        operations.carry_out(steps, OLGA, "a test order")
    assert has(one(lines, "dead letter: discard wanted"), letter=letter.pk, actor="operator:olga")


@pytest.mark.usefixtures("rules_without_delay")
def test_alerts_and_their_deliveries(told: Any, settings: Any) -> None:
    with serve() as slack, told() as lines:
        settings.SLACK_WEBHOOK_URL = slack.url
        settings.OPSCONSOLE_ALERT_CHANNELS = {}
        notify.measure("dlq_not_empty", 5, Trouble(title="5 dead letters"), scope="default")
        delivery.deliver()
    alert = one(lines, "alert firing")
    assert has(alert, fingerprint="dlq_not_empty:default", level="WARNING")
    assert has(one(lines, "alert sent"), alert=str(alert["alert"]), channel="slack", outcome="delivered")
    assert slack.url not in repr(lines)


def test_switches(told: Any) -> None:
    RecoveryControl.objects.get_or_create(pk=1)
    with told() as lines:
        pauses.begin(pauses.RECOVERY, by="olga", reason="deploy 1.4", lasting=300 * SECOND)
        pauses.end(pauses.RECOVERY, by="olga", reason="done")
        control.disarm(OLGA, "a look first")
    assert [line["event"] for line in lines] == ["switch changed"] * 3
    assert [line["switch"] for line in lines] == ["recovery", "recovery", "recovery control"]
    assert has(lines[2], mode="observe", actor="operator:olga")
