"""Tests of enqueueing: row, event and outbox message in one transaction, all jobs or none (I2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from jobs.intake.enqueue import InvalidJob, NewJob, enqueue, enqueue_many
from jobs.models import Job, JobEvent, Outbox, Status
from jobs.runs.timeline import Actor
from opsconsole_worker.environment import QueueConfig

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def queues(settings: Any) -> None:
    url = "http://127.0.0.1:1/000000000000/"
    settings.QUEUES = {name: QueueConfig(name, url + name, None) for name in ("default", "bulk")}


def new(**fields: Any) -> NewJob:
    least: dict[str, Any] = {"customer_id": "TEST-001", "package_size": 50}
    return NewJob(**least | fields)


def test_row_event_and_message_belong_together() -> None:
    job = enqueue(new(payload={"site": "example.org"}, queue="bulk"), actor=Actor("api:key-1"))
    assert (job.status, job.run_epoch, job.queue) == (Status.PENDING, 1, "bulk")
    assert job.payload == {"site": "example.org"}
    assert job.priority_level == "starter"
    event = JobEvent.objects.get(job_id=job.pk)
    assert (event.kind, event.run_epoch, event.actor) == (JobEvent.Kind.ENQUEUED, 1, "api:key-1")
    message = Outbox.objects.get(job_id=job.pk)
    assert (message.destination, message.queue, message.retry) == ("queue", "bulk", False)
    assert list(Outbox.objects.due()) == [message]


def test_given_priority_overrides_database_default() -> None:
    assert enqueue(new(priority="enterprise")).priority_level == "enterprise"


def test_message_of_a_job_for_later_is_due_with_the_job() -> None:
    later = timezone.now() + timedelta(hours=1)
    job = enqueue(new(not_before=later))
    assert job.not_before == Outbox.objects.get().available_at == later
    assert not Outbox.objects.due().exists()


def test_all_or_none_when_one_is_invalid() -> None:
    with pytest.raises(InvalidJob):
        enqueue_many([new(), new(package_size=0), new()])
    assert_nothing_was_enqueued()


def test_all_or_none_when_the_database_refuses_one() -> None:
    again = uuid4()
    with pytest.raises(IntegrityError), transaction.atomic():
        enqueue_many([new(), new(id=again), new(id=again)])
    assert_nothing_was_enqueued()


def assert_nothing_was_enqueued() -> None:
    assert not Job.objects.exists()
    assert not JobEvent.objects.exists()
    assert not Outbox.objects.exists()


def test_many_jobs_take_a_few_statements(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        enqueue_many([new() for _ in range(2_500)])
    assert Job.objects.count() == JobEvent.objects.count() == Outbox.objects.count() == 2_500


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"customer_id": "  "}, "customer_id must be non-empty text"),
        ({"customer_id": "a\x00b"}, "customer_id must be non-empty text"),
        ({"customer_id": "\udc80"}, "customer_id must be non-empty text"),
        ({"priority": ""}, "priority must be non-empty text"),
        ({"priority": "a\x00b"}, "priority must be non-empty text"),
        ({"package_size": 0}, "package_size must be a whole number from 1 to 2147483647"),
        ({"package_size": -1}, "package_size must be"),
        ({"package_size": 2**31}, "package_size must be"),
        ({"queue": "nowhere"}, "There is no queue named 'nowhere'. Known queues: bulk, default."),
        ({"payload": {"a": float("nan")}}, "payload can't be stored: it is not JSON"),
        ({"payload": {"a": "\x00"}}, "payload can't be stored: it has a NUL"),
        ({"payload": {"\ud800": 1}}, "payload can't be stored: it has a lone surrogate"),
        ({"payload": {"a": object()}}, "payload can't be stored: it is not JSON"),
        ({"customer_id": "\u200b\ufeff"}, "customer_id must be non-empty text without control"),
        ({"customer_id": "a\nb"}, "customer_id must be non-empty text without control"),
        ({"priority": "\x1b[31m"}, "priority must be non-empty text without control"),
        (
            {"deadline_at": datetime(2020, 1, 1, tzinfo=UTC)},
            "deadline_at must lie in the future: 2020-01-01T",
        ),
        ({"deadline_at": datetime(2098, 1, 1)}, "deadline_at must have a time zone"),  # noqa: DTZ001 - the case
        (
            {"not_before": datetime(2098, 1, 1, tzinfo=UTC), "deadline_at": datetime(2098, 1, 1, tzinfo=UTC)},
            "deadline_at must lie after not_before",
        ),
    ],
)
def test_invalid_jobs_are_refused_with_the_field_and_what_is_accepted(
    fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidJob, match=r".") as refused:
        enqueue(new(**fields))
    assert sentence in str(refused.value)
    assert_nothing_was_enqueued()


@pytest.mark.parametrize(("size", "accepted"), [(100, True), (101, False)])
def test_payload_limit_is_in_bytes_of_json(size: int, accepted: bool, settings: Any) -> None:
    settings.OPSCONSOLE_BODY_LIMIT_BYTES = 100
    payload = {"a": "x" * (size - len('{"a": ""}'))}
    if accepted:
        assert enqueue(new(payload=payload)).payload == payload
    else:
        with pytest.raises(InvalidJob, match="payload is 101 bytes; at most 100 are accepted"):
            enqueue(new(payload=payload))


@pytest.mark.parametrize("largest", [1, 2**31 - 1])
def test_package_size_at_its_bounds(largest: int) -> None:
    assert enqueue(new(package_size=largest)).package_size == largest
