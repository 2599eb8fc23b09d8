"""Tests of the ``check --deploy`` warning that SQS would delete dead letters too early."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings

from jobs import checks
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from tests.conftest import TestQueue

DAY = 86_400
STANDARD = QueueConfig("default", "https://x/jobs", "https://x/jobs-dlq")
FIFO = QueueConfig("orders", "https://x/orders.fifo", "https://x/orders-dlq.fifo")


def kept(days: float) -> sqs.QueueDepth:
    return sqs.QueueDepth(
        visible=0,
        in_flight=0,
        delayed=0,
        visibility_timeout_seconds=30,
        retention_seconds=int(days * DAY),
    )


@pytest.mark.parametrize(
    ("queue", "source", "dlq", "warned"),
    [
        (STANDARD, 4, 14, False),
        (STANDARD, 4, 4.1, False),
        (STANDARD, 4, 4, True),
        (STANDARD, 14, 4, True),
        (FIFO, 4, 4, False),
    ],
)
def test_no_warning_when_dead_letters_are_kept_longer(
    queue: QueueConfig, source: float, dlq: float, warned: bool
) -> None:
    found = checks.judge_retention(queue, kept(source), kept(dlq))
    assert bool(found) is warned
    if found:
        assert found.id == "jobs.W001"
        assert found.msg.startswith(f"The dead letter queue of 'default' keeps messages for {dlq:g} d")


def test_check_reads_retention_from_sqs(sqs_queue: TestQueue) -> None:
    assert [found.id for found in checks.retention()] == ["jobs.W001"], "both keep messages for 4 days"
    sqs_queue.client.set_queue_attributes(
        QueueUrl=sqs_queue.dlq_url, Attributes={"MessageRetentionPeriod": str(14 * DAY)}
    )
    assert checks.retention() == []


def test_sqs_outage_is_reported_as_unknown_and_not_as_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(url: str) -> sqs.QueueDepth:
        raise sqs.QueueUnavailable(f"The queue {url} can't be reached: timed out.")

    settings.QUEUES = {"default": STANDARD}
    monkeypatch.setattr(sqs, "depth", away)
    [found] = checks.retention()
    assert (found.id, found.is_serious()) == ("jobs.I001", False)
    assert "is unknown: The queue https://x/jobs can't be reached" in found.msg


def test_queue_without_dlq_is_not_checked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.QUEUES = {"bare": QueueConfig("bare", "https://x/bare", None)}
    monkeypatch.setattr(sqs, "depth", None)
    assert checks.retention() == []


@pytest.mark.django_db
def test_check_runs_only_with_deploy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.QUEUES = {"default": STANDARD}
    asked = []

    def note(url: str) -> sqs.QueueDepth:
        asked.append(url)
        return kept(14)

    monkeypatch.setattr(sqs, "depth", note)
    call_command("check", stdout=StringIO(), stderr=StringIO())
    assert asked == []
    call_command("check", "--deploy", "--tag", "queues", stdout=StringIO(), stderr=StringIO())
    assert sorted(asked) == ["https://x/jobs", "https://x/jobs-dlq"]
