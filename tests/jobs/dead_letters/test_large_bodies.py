"""Tests of bodies as large as SQS accepts (1 MiB): they are stored, shown cut, edited and replayed, and lists never read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings as configured
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from jobs import tasks
from jobs.dead_letters import check, scan, search_text
from jobs.models import DeadLetter
from opsconsole_worker import sqs
from opsconsole_worker.messages import parse_body
from tests.conftest import TestQueue
from tests.factories import dead_letter, job
from tests.jobs.dead_letters.account import QUEUES, replay
from tests.sending import versions_on

pytestmark = pytest.mark.django_db


def body(**fields: Any) -> str:
    """Return a JSON body of exactly 1 MiB that percent-encoding would make three times as large."""
    rest = sqs.BATCH_BYTES - len(json.dumps(fields | {"note": ""}))
    return json.dumps(fields | {"note": "%" * rest})


def test_largest_body_is_stored_shown_and_replayed_over_http(
    sqs_queue: TestQueue, monkeypatch: pytest.MonkeyPatch, operator: Client
) -> None:
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    whole = body(order=1)
    sqs_queue.client.send_message(QueueUrl=sqs_queue.dlq_url, MessageBody=whole)
    check.check()
    letter = DeadLetter.objects.get()

    with CaptureQueriesContext(connection) as queries:
        operator.get(reverse("admin:jobs_deadletter_changelist"))
    page = operator.get(reverse("admin:jobs_deadletter_change", args=[letter.pk]))
    replay(letter)
    tasks.work_dead_letters()

    assert letter.body == whole
    assert not [query for query in queries if '"dead_letters"."body"' in query["sql"]]
    assert b"Only the beginning is shown." in page.content
    assert len(page.content) < 200_000
    assert sqs_queue.bodies() == [whole]


def test_largest_message_of_a_job_is_accepted_by_default() -> None:
    made = job()

    assert configured.OPSCONSOLE_BODY_LIMIT_BYTES == sqs.BATCH_BYTES
    message = parse_body(body(job_id=str(made.pk)), configured.OPSCONSOLE_BODY_LIMIT_BYTES)

    assert message.job_id == made.pk


def test_editor_sends_the_largest_body_in_a_form_that_django_accepts(operator: Client, settings: Any) -> None:
    """A form that is percent-encoded would exceed DATA_UPLOAD_MAX_MEMORY_SIZE."""
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    settings.QUEUES = QUEUES
    letter = dead_letter(body=body(order=1))
    page = operator.get(reverse("admin:jobs_deadletter_edit", args=[letter.pk]))

    # Django's test client posts multipart/form-data, as the form says.
    shown = operator.post(
        reverse("admin:jobs_deadletter_edit", args=[letter.pk]),
        {"body": body(order=2), "reason": "x"} | versions_on(page),
    )

    assert b'enctype="multipart/form-data"' in page.content
    assert shown.status_code == 200
    assert b"What changes" in shown.content


def test_search_text_of_large_bodies_is_rebuilt_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        dead_letter(body=body(order=1), words_of="other")
    monkeypatch.setattr(search_text, "PAGE_BYTES", 2_000_000)

    with CaptureQueriesContext(connection) as queries:
        assert search_text.catch_up() == 3

    assert len([query for query in queries if '"dead_letters"."body"' in query["sql"]]) == 3
