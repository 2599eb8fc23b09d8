"""Tests of queue gauges: readings are stored with their time; a failed one is unknown, not zero (I8)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from jobs.messaging.queue_depths import refresh_queue_states
from jobs.models import QueueState
from jobs.recovery import loss_proofs
from opsconsole_worker import sqs
from opsconsole_worker.environment import QueueConfig
from tests.conftest import TestQueue
from tests.factories import SECOND
from tests.fakes.sqs import FakeSqs, client_error, throttled, unreachable

pytestmark = pytest.mark.django_db

QUEUE, OTHER = "https://sqs.fake/jobs", "https://sqs.fake/other"
FRESH = timedelta(minutes=3)


@pytest.fixture
def fake(settings: Any, monkeypatch: pytest.MonkeyPatch) -> FakeSqs:
    account = FakeSqs()
    account.create(QUEUE, visibility_timeout=45)
    settings.QUEUES = {"default": QueueConfig("default", QUEUE, None)}
    monkeypatch.setattr(sqs, "client_for", account.client_for)
    return account


def state(name: str = "default") -> QueueState:
    return QueueState.objects.get(name=name)


def test_figures_of_a_real_queue(sqs_queue: TestQueue) -> None:
    for number in range(3):
        sqs_queue.client.send_message(QueueUrl=sqs_queue.url, MessageBody=f"{number}")
    sqs_queue.client.send_message(QueueUrl=sqs_queue.url, MessageBody="later", DelaySeconds=600)
    sqs_queue.client.receive_message(QueueUrl=sqs_queue.url, MaxNumberOfMessages=1)
    refresh_queue_states()
    read = state()
    assert (read.visible, read.in_flight, read.delayed, read.error) == (2, 1, 1, "")
    assert read.visibility_timeout_seconds == 30
    assert read.read_at and read.checked_at and read.read_at <= read.checked_at


@pytest.mark.parametrize("error", [unreachable(), throttled(), client_error("AccessDenied", 403)])
def test_failed_read_keeps_the_figures_and_says_why(fake: FakeSqs, error: Exception) -> None:
    fake.send_message(QueueUrl=QUEUE, MessageBody="one")
    refresh_queue_states()
    before = state()
    fake.fail_next(10, error)
    refresh_queue_states()
    after = state()
    assert (after.visible, after.read_at) == (1, before.read_at)
    assert after.error and before.checked_at and after.checked_at and after.checked_at > before.checked_at
    fake._faults.clear()
    refresh_queue_states()
    assert state().error == "" and state().read_at != before.read_at


def test_queue_that_could_never_be_read_is_unknown(fake: FakeSqs) -> None:
    fake.fail_next(10, unreachable())
    refresh_queue_states()
    assert (state().visible, state().in_flight, state().delayed, state().read_at) == (None,) * 4
    assert state().checked_at and "can't be reached" in state().error
    assert not loss_proofs.proofs()


def test_one_bad_queue_does_not_stop_the_others(fake: FakeSqs, settings: Any) -> None:
    settings.QUEUES = {"gone": QueueConfig("gone", OTHER, None)} | settings.QUEUES
    refresh_queue_states()
    assert "NonExistentQueue" in state("gone").error
    assert (state().visible, state().visibility_timeout_seconds) == (0, 45)


def test_names_no_longer_configured_are_removed(fake: FakeSqs) -> None:
    QueueState.objects.create(name="retired", visible=5)
    refresh_queue_states()
    assert [row.name for row in QueueState.objects.all()] == ["default"]


def test_nothing_is_configured(fake: FakeSqs, settings: Any) -> None:
    settings.QUEUES = {}
    QueueState.objects.create(name="retired", visible=5)
    refresh_queue_states()
    assert not QueueState.objects.exists()


def test_late_reading_does_not_replace_newer_one(fake: FakeSqs) -> None:
    QueueState.objects.create(name="default", visible=7, read_at=Now() + 60 * SECOND)
    refresh_queue_states()
    assert (state().visible, state().checked_at) == (7, None)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({}, True),
        ({"visible": 1}, False),
        ({"in_flight": 1}, False),
        ({"delayed": 1}, False),
        ({"visible": None}, False),
        ({"in_flight": None}, False),
        ({"delayed": None}, False),
        ({"error": "The queue can't be reached."}, False),
        ({"read_at": None}, False),
        ({"read_at": Now() - FRESH + 10 * SECOND}, True),
        ({"read_at": Now() - FRESH - SECOND}, False),
    ],
)
def test_queue_counts_as_empty_only_with_three_zeros_in_fresh_reading(
    fake: FakeSqs, figures: dict[str, Any], expected: bool
) -> None:
    QueueState.objects.create(
        **{"name": "default", "visible": 0, "in_flight": 0, "delayed": 0, "read_at": Now(), "error": ""}
        | figures
    )
    assert bool(loss_proofs.proofs()) is expected
