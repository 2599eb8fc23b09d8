"""Tests that no page, export, API answer or command grows with what other programs write into a column."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Task

from jobs.models import DeadLetter, Job, JobEvent
from opsconsole.kit.bounded_columns import BEGINNING, LONGEST_TEXT, CutDocument, is_cut
from opsconsole.kit.storable import DEEPEST
from opsconsole_worker.runs import lifecycle
from opsconsole_worker.runs.heartbeats import Worker
from opsconsole_worker.runs.lifecycle import Refusal, Refused
from opsconsole_worker.runs.running_job import RunningJob
from tests.conftest import TestQueue
from tests.factories import job, run
from tests.opsconsole import everything

pytestmark = pytest.mark.django_db

MEGABYTE = 1_000_000
LARGEST_PAGE = MEGABYTE
# Pages and commands together may take this much more memory than the process has already. A list of 50 jobs would
# take several hundred megabytes if it read the columns whole.
MOST_MEMORY = 60 * MEGABYTE
DEEP = "[" * 900 + "]" * 900
COMMANDS = (["find_stale_jobs"], ["find_stale_jobs", "--json"], ["inspect_database"], ["recover_stale_jobs"])


def fill_task_queue() -> None:
    for number in range(60):
        huge, now = "x" * 2 * MEGABYTE, timezone.now()
        Task.objects.create(
            id=f"huge-{number}",
            name=f"huge-{number}",
            func="math.floor",
            started=now,
            stopped=now,
            success=bool(number % 2),
            args=(huge,),
            result=huge,
        )


def fill() -> None:
    """Make every column of the contract tables large, and documents large, deep, or full of digits."""
    with connection.cursor() as cursor:
        # Without an index over it, nothing limits the length of a name.
        cursor.execute(
            "DROP INDEX opsconsole_jobs_customer_idx, opsconsole_jobs_status_idx, opsconsole_jobs_since_idx"
        )
        cursor.execute(
            "UPDATE jobs SET error_message = repeat('x', 1000000), customer_id = customer_id || repeat('c', 1000000),"
            "       priority_level = repeat('p', 1000000), worker_id = worker_id || repeat('w', 100000),"
            "       payload = CASE ascii(id::text) %% 3 WHEN 0 THEN jsonb_build_object('x', repeat('x', 1000000))"
            "                 WHEN 1 THEN jsonb_build_object('x', %s::jsonb)"
            "                 ELSE jsonb_build_object('x', repeat('9', 5000)::numeric) END",
            [DEEP],
        )
        cursor.execute(
            "INSERT INTO job_events (job_id, kind, run_epoch, actor, reason, details)"
            " SELECT jobs.id, kind, 1, 'worker:' || repeat('w', 100000), repeat('r', 100000), details"
            "   FROM jobs, unnest(ARRAY['completed', 'progress']) AS kind,"
            "        unnest(ARRAY[jsonb_build_object('note', repeat('n', 100000)), %s::jsonb]) AS details",
            [DEEP],
        )
        cursor.execute(
            "UPDATE worker_heartbeats SET hostname = repeat('h', 1000000),"
            "       metadata = jsonb_build_object('protocol', 1, 'x', repeat('m', 1000000))"
        )
        cursor.execute("UPDATE outbox SET last_error = repeat('e', 1000000), reason = repeat('r', 1000000)")
        cursor.execute(
            "INSERT INTO rate_limit_requests (key, endpoint, method)"
            " SELECT 'theirs', repeat('e', 1000000), repeat('m', 1000000) FROM generate_series(1, 60)"
        )


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail when the block makes this process hold much more memory than it held before.

    Linux forgets the highest memory so far on request, so that what ran earlier in this process hides nothing.
    """
    Path("/proc/self/clear_refs").write_text("5")
    held = _peak_memory()
    yield
    assert _peak_memory() - held < MOST_MEMORY


def _peak_memory() -> int:
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) * 1024


def too_large(client: Client) -> Iterator[str]:
    for address in everything.addresses():
        answer = client.get(address)
        downloads = "/whole/" in address or "/job/events/" in address
        length = 0 if downloads else len(b"".join(answer))
        if answer.status_code >= 500 or length > LARGEST_PAGE:
            yield f"GET {address}: {answer.status_code}, {length} bytes"


def test_pages_and_commands_stay_small_over_huge_columns(operator: Client, settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()
    fill_task_queue()
    fill()
    chosen = Job.objects.order_by("pk").values_list("pk", flat=True)[:50]
    previews = reverse("admin:jobs_job_operate", args=["requeue"]) + "?id=" + "&id=".join(map(str, chosen))

    with little_memory():
        assert list(too_large(operator)) == []
        assert len(operator.get(previews).content) < LARGEST_PAGE
        for command in COMMANDS:
            output = io.StringIO()
            call_command(*command, stdout=output)
            assert len(output.getvalue()) < LARGEST_PAGE


def test_scan_of_dead_letters_stays_small_over_huge_errors_of_their_jobs(sqs_queue: TestQueue) -> None:
    dead = [job(status="failed", error_message="x" * 2 * MEGABYTE) for _ in range(60)]
    for start in range(0, len(dead), 10):
        sqs_queue.client.send_message_batch(
            QueueUrl=sqs_queue.dlq_url,
            Entries=[
                {"Id": str(number), "MessageBody": json.dumps({"job_id": str(each.pk), "run_epoch": 1})}
                for number, each in enumerate(dead[start : start + 10])
            ],
        )

    with little_memory(), pytest.raises(CommandError, match="There are dead letters"):
        call_command("check_dlq", stdout=io.StringIO())

    assert DeadLetter.objects.count() == len(dead)


def test_page_shows_the_beginning_and_offers_the_whole(operator: Client) -> None:
    made = job(error_message="é" * LONGEST_TEXT + "end", payload={"x": "y" * 2 * MEGABYTE})

    page = operator.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    downloads = {
        column: b"".join(operator.get(reverse("admin:jobs_job_whole", args=[made.pk, column]))).decode()
        for column in ("error_message", "payload")
    }

    assert f"é … (cut; {2 * LONGEST_TEXT + 3} bytes in all)" in page
    assert all(reverse("admin:jobs_job_whole", args=[made.pk, column]) in page for column in downloads)
    assert downloads["error_message"] == "é" * LONGEST_TEXT + "end"
    assert json.loads(downloads["payload"]) == {"x": "y" * 2 * MEGABYTE}


def test_whole_column_is_for_those_who_may_see_its_row(operator: Client) -> None:
    made = job(error_message="secret")
    JobEvent.objects.create(job=made, kind="progress", actor="a", reason="r" * 20_000)
    [event] = JobEvent.objects.all()
    stranger = Client()
    stranger.force_login(User.objects.create_user("stranger", is_staff=True))
    of_event = reverse("admin:jobs_jobevent_whole", args=[event.pk, "reason"])

    assert b"".join(operator.get(of_event)) == b"r" * 20_000
    for address in (reverse("admin:jobs_job_whole", args=[made.pk, "error_message"]), of_event):
        assert stranger.get(address).status_code == 403
    assert operator.get(reverse("admin:jobs_job_whole", args=[made.pk, "id"])).status_code == 404


def test_text_of_the_allowed_length_is_read_whole() -> None:
    assert job(error_message="é" * LONGEST_TEXT).error_message == "é" * LONGEST_TEXT


def test_beginning_is_never_saved_in_place_of_the_whole() -> None:
    made = job(error_message="x" * 50_000)

    with pytest.raises(TypeError, match="error_message"), transaction.atomic():
        made.save()
    assert Job.objects.values_list("error_message", flat=True).filter(error_message="x" * 50_000).exists()


@pytest.mark.parametrize(
    "text", [f'{{"x": {DEEP}}}', f'{{"x": {"9" * 5_000}}}', f'{{"x": "{"y" * 50_000}"}}']
)
def test_document_that_nobody_can_read_stands_as_its_beginning(text: str) -> None:
    made = run()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET payload = %s::jsonb WHERE id = %s", [text, made.pk])

    payload = Job.objects.get(pk=made.pk).payload

    assert isinstance(payload, CutDocument)
    assert payload[BEGINNING].startswith('{"x": ')


def test_worker_gets_the_whole_payload() -> None:
    made = job(customer_id="c" * 5_000, payload={"x": "y" * MEGABYTE})

    claimed = lifecycle.claim(made.pk, 1, Worker("worker-1"))

    assert isinstance(claimed, RunningJob)
    assert claimed.payload == {"x": "y" * MEGABYTE}
    assert claimed.customer_id == "c" * 5_000
    assert not is_cut(claimed.payload)


def test_job_with_a_payload_that_is_too_deep_fails() -> None:
    made = job()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET payload = %s::jsonb", [f'{{"x": {DEEP}}}'])

    claimed = lifecycle.claim(made.pk, 1, Worker("worker-1"))

    assert claimed == Refused(Refusal.UNREADABLE)
    failed = Job.objects.get(pk=made.pk)
    assert failed.status == "failed"
    assert failed.error_message == "The payload can't be read. It is nested more than 100 levels deep."


def test_deepest_document_that_is_accepted_is_shown(operator: Client) -> None:
    made = run()
    deepest = json.loads('{"x": ' + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1) + "}")

    assert lifecycle.complete(lifecycle.Run(made.pk, 1, Worker("worker-1")), deepest)
    assert operator.get(reverse("admin:jobs_job_change", args=[made.pk])).status_code == 200
    assert JobEvent.objects.get().details == deepest
