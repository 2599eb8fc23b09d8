"""Tests of what verify sends and undoes: nothing of it reaches a worker, a figure or a customer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection

from jobs.dead_letters import check as dead_letter_check
from jobs.models import DeadLetter, Job, JobEvent, Outbox
from opsconsole.verification import job_probe, messages
from opsconsole.verification.check import Verdict, Wishes
from opsconsole_worker import sqs
from ratelimits.models import RateLimitRequest
from tests import factories
from tests.conftest import TestQueue

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

WISHES = Wishes()


@pytest.fixture
def probe_queue(sqs_client: SQSClient, settings: Any) -> Iterator[str]:
    url = sqs_client.create_queue(QueueName=f"probe-{uuid4().hex[:12]}")["QueueUrl"]
    settings.OPSCONSOLE_PROBE_QUEUE_URL = url
    yield url
    sqs_client.delete_queue(QueueUrl=url)


def rows() -> tuple[int, int, int]:
    return Job.objects.count(), JobEvent.objects.count(), Outbox.objects.count()


@pytest.mark.django_db
@pytest.mark.parametrize("existing", [0, 1])
def test_probe_job_leaves_nothing(sqs_queue: TestQueue, probe_queue: str, existing: int) -> None:
    for _ in range(existing):
        factories.job()
    before = rows()

    assert job_probe.job_passes(WISHES).verdict == Verdict.OK
    assert job_probe.job_passes_through_sqs(WISHES).verdict == Verdict.OK

    assert rows() == before
    assert [sqs.depth(url).total for url in (sqs_queue.url, sqs_queue.dlq_url, probe_queue)] == [0, 0, 0]


@pytest.mark.django_db
@pytest.mark.parametrize("size", ["0", "-3", "NULL"])
def test_probe_needs_no_size_of_the_newest_job(sqs_queue: TestQueue, probe_queue: str, size: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs ALTER package_size DROP NOT NULL")
    factories.job()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE jobs SET package_size = {size}")

    assert job_probe.job_passes(WISHES).verdict == Verdict.OK


@pytest.mark.django_db
def test_probe_job_takes_no_other_message_of_the_outbox(sqs_queue: TestQueue, probe_queue: str) -> None:
    from jobs.intake import enqueue

    enqueue.enqueue(enqueue.NewJob(customer_id="c-1", package_size=1))

    assert job_probe.job_passes_through_sqs(WISHES).verdict == Verdict.OK

    [waiting] = Outbox.objects.all()
    assert (waiting.state, waiting.attempts) == (Outbox.State.WAITING, 0)


@pytest.mark.django_db
def test_probe_never_enters_a_queue_of_jobs(sqs_queue: TestQueue, settings: Any) -> None:
    settings.OPSCONSOLE_PROBE_QUEUE_URL = sqs_queue.url

    told = job_probe.job_passes_through_sqs(WISHES)

    assert told.verdict == Verdict.WRONG
    assert sqs.depth(sqs_queue.url).total == 0


@pytest.mark.django_db
def test_without_a_queue_of_its_own_the_way_through_sqs_is_skipped(sqs_queue: TestQueue) -> None:
    assert job_probe.job_passes_through_sqs(WISHES).verdict == Verdict.SKIPPED


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("IF NEW.status = 'completed' THEN RETURN NULL; END IF; RETURN NEW;", Verdict.WRONG),
        ("IF NEW.customer_id <> '' THEN RAISE check_violation; END IF; RETURN NEW;", Verdict.UNKNOWN),
        ("PERFORM pg_advisory_lock(1); RETURN NEW;", Verdict.UNKNOWN),
    ],
)
def test_triggers_of_theirs_are_seen_before_anything_is_sent(
    sqs_queue: TestQueue, probe_queue: str, body: str, verdict: Verdict
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE FUNCTION public.theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        cursor.execute(
            "CREATE TRIGGER theirs BEFORE INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION public.theirs()"
        )

    told = job_probe.job_passes(WISHES)

    assert (told.verdict, bool(told.action)) == (verdict, True)
    assert rows() == (0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_probe_letter_comes_back_and_others_stay(sqs_queue: TestQueue) -> None:
    sqs.send_raw(sqs_queue.dlq_url, "a real letter")

    assert messages.letters_come_back(WISHES).verdict == Verdict.SKIPPED
    assert messages.letters_come_back(Wishes(letter=True)).verdict == Verdict.OK

    dead_letter_check.check()
    assert [letter.body for letter in DeadLetter.objects.all()] == ["a real letter"]


@pytest.mark.django_db
def test_one_client_is_refused_and_forgotten() -> None:
    told = messages.requests_are_refused(WISHES)

    assert told.verdict == Verdict.OK
    assert not RateLimitRequest.objects.exists()


@pytest.mark.django_db
def test_channels_are_tested_unless_told_otherwise(settings: Any) -> None:
    assert messages.channels_deliver(WISHES).verdict == Verdict.SKIPPED
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    assert messages.channels_deliver(Wishes(channels=False)).verdict == Verdict.SKIPPED

    told = messages.channels_deliver(WISHES)

    assert told.verdict == Verdict.WRONG
    assert told.sentence.startswith("slack did not accept the test: ")
    assert "secret-word" not in json.dumps([told.sentence, told.action])
