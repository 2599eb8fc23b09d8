"""Tests of the pages that edit a payload and enqueue a job."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.models import Job, JobEvent, Outbox, Status
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, job, run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _two_queues(settings: Any) -> None:
    settings.QUEUES = {
        name: QueueConfig(name, f"http://127.0.0.1:9/{name}", None) for name in ("default", "slow")
    }


def address(made: Job) -> str:
    return reverse("admin:jobs_job_payload", args=[made.pk])


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found, page
    return found[1]


def test_editor_shows_the_error_that_it_mends(operator: Client) -> None:
    failed = job(status=Status.FAILED, error_message="The address is missing.")

    assert "The address is missing." in operator.get(address(failed)).text


def test_payload_is_edited_by_a_preview_and_a_reason(operator: Client) -> None:
    failed = job(status=Status.FAILED, payload={"address": None, "items": 3})
    assert (
        address(failed) in operator.get(reverse("admin:jobs_job_change", args=[failed.pk])).content.decode()
    )
    opened = operator.get(address(failed)).content.decode()
    assert "&quot;address&quot;: null" in opened and "Will wait for run 2" in opened
    fields = {
        "payload": '{"address": "Main Street 1", "items": 3}',
        "reason": "asked the customer",
        "version": hidden(opened, "version"),
    }

    preview = operator.post(address(failed), fields | {"reason": "", "step": "preview"}).content.decode()
    assert "Give a reason" not in preview
    assert "-    &quot;address&quot;: null" in preview
    assert "+    &quot;address&quot;: &quot;Main Street 1&quot;" in preview
    assert "Save and requeue" in preview
    failed.refresh_from_db()
    assert failed.status == Status.FAILED

    fields["previewed"] = hidden(preview, "previewed")
    saved = operator.post(address(failed), fields | {"step": "save"}, follow=True).content.decode()
    assert "The payload was edited. Queued for run 2." in saved and "Payload edited" in saved
    failed.refresh_from_db()
    assert (failed.status, failed.payload) == (Status.PENDING, {"address": "Main Street 1", "items": 3})
    line = LogEntry.objects.latest("pk")
    said = "Edited the payload and started the job again."
    assert (line.change_message, line.detail.reason) == (said, "asked the customer")
    assert "Main Street" not in line.change_message + line.detail.result

    # Sent twice, or by a page that was opened before.
    again = operator.post(address(failed), fields | {"step": "save"})
    assert again.status_code == 409
    assert (
        'data-label="Was" class="long">Failed</td><td data-label="Is now" class="long">Waiting</td>'
        in again.text
    )
    assert JobEvent.objects.filter(job_id=failed.pk, kind="edited").count() == 1


def test_only_what_the_changes_were_shown_of_is_saved(operator: Client) -> None:
    failed = job(status=Status.FAILED, payload={"a": 1})
    fields = {
        "version": hidden(operator.get(address(failed)).text, "version"),
        "payload": '{"a": 2}',
        "reason": "asked the customer",
    }
    fields["previewed"] = hidden(operator.post(address(failed), fields).text, "previewed")

    # Typed after the changes were shown.
    fields["payload"] = '{"a": 3}'
    unseen = operator.post(address(failed), fields | {"step": "save"}).text

    failed.refresh_from_db()
    assert (failed.status, failed.payload) == (Status.FAILED, {"a": 1})
    assert "Nothing was saved: this is not what the changes were shown of." in unseen
    assert "+    &quot;a&quot;: 3" in unseen and "asked the customer" in unseen
    fields["previewed"] = hidden(unseen, "previewed")
    assert operator.post(address(failed), fields | {"step": "save"}).status_code == 302
    failed.refresh_from_db()
    assert failed.payload == {"a": 3}


def test_waiting_job_is_not_said_to_be_started_again(operator: Client) -> None:
    waiting = job(payload={"a": 1})
    fields = {
        "version": hidden(operator.get(address(waiting)).text, "version"),
        "payload": '{"a": 2}',
        "reason": "asked the customer",
    }
    fields["previewed"] = hidden(operator.post(address(waiting), fields).text, "previewed")
    operator.post(address(waiting), fields | {"step": "save"})

    assert LogEntry.objects.latest("pk").change_message == "Edited the payload."


def test_what_was_typed_stays_when_it_is_refused(operator: Client) -> None:
    failed = job(status=Status.FAILED, payload={"a": 1})
    version = hidden(operator.get(address(failed)).content.decode(), "version")
    page = operator.post(
        address(failed), {"payload": '{"a": 2', "reason": "", "version": version, "step": "save"}
    ).content.decode()
    assert "This is not JSON" in page and "Give a reason" in page and "{&quot;a&quot;: 2</textarea>" in page


def test_running_job_has_no_editor(operator: Client) -> None:
    running = run(age=SECOND, silent=SECOND)
    assert (
        address(running)
        not in operator.get(reverse("admin:jobs_job_change", args=[running.pk])).content.decode()
    )
    page = operator.get(address(running)).content.decode()
    assert "waits, failed or is quarantined" in page and "<textarea" not in page
    assert operator.get(reverse("admin:jobs_job_payload", args=[uuid4()])).status_code == 404


@pytest.mark.parametrize(
    ("permissions", "status", "allowed"),
    [
        (["edit_job"], Status.PENDING, True),
        (["edit_job"], Status.FAILED, False),
        (["edit_job", "requeue_job"], Status.FAILED, True),
        (["edit_job", "requeue_job"], Status.QUARANTINED, False),
        (["edit_job", "release_job"], Status.QUARANTINED, True),
    ],
)
def test_starting_it_again_needs_its_own_permission(
    permissions: list[str], status: str, allowed: bool
) -> None:
    client = Client()
    client.force_login(people.allowed("view_job", *permissions))
    made = job(status=status, payload={"a": 1})
    page = client.get(address(made)).content.decode()
    assert ("<textarea" in page) is allowed
    assert (
        address(made) in client.get(reverse("admin:jobs_job_change", args=[made.pk])).content.decode()
    ) is allowed
    if not allowed:
        client.post(address(made), {"payload": '{"a": 2}', "reason": "x", "step": "save"})
        made.refresh_from_db()
        assert made.payload == {"a": 1}


ENQUEUE = {
    "customer_id": "acme", "package_size": "7", "queue": "slow", "priority": "", "not_before": "",
    "payload": '{"total": 0.10000000000000000001}', "reason": "lost in the outage",
}  # fmt: skip


def test_job_is_enqueued_once_by_form(operator: Client) -> None:
    form = reverse("admin:jobs_job_enqueue")
    assert form in operator.get(reverse("admin:jobs_job_changelist")).content.decode()
    fields = ENQUEUE | {"token": hidden(operator.get(form).content.decode(), "token")}

    first = operator.post(form, fields, follow=True)
    second = operator.post(form, fields, follow=True)

    assert "The job is enqueued." in first.content.decode()
    assert "had been enqueued already" in second.content.decode()
    assert first.redirect_chain == second.redirect_chain
    made = Job.objects.get(customer_id="acme")
    assert (made.package_size, made.queue, made.status) == (7, "slow", Status.PENDING)
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload::text FROM jobs WHERE id = %s", [made.pk])
        assert cursor.fetchone() == ('{"total": 0.10000000000000000001}',)
    event = JobEvent.objects.get(job_id=made.pk)
    assert (event.kind, event.actor, event.reason) == ("enqueued", "operator:olga", "lost in the outage")
    assert Outbox.objects.filter(job_id=made.pk).count() == 1
    assert LogEntry.objects.filter(change_message="Enqueued a job.").count() == 1


def test_form_that_was_sent_with_other_values_can_be_sent_again(operator: Client) -> None:
    form = reverse("admin:jobs_job_enqueue")
    fields = ENQUEUE | {"token": str(uuid4())}
    operator.post(form, fields)
    other = fields | {"customer_id": "other"}

    refused = operator.post(form, other).text

    assert "this form has enqueued a job already, with other values" in refused
    assert "Idempotency-Key" not in refused and not Job.objects.filter(customer_id="other").exists()
    operator.post(form, other | {"token": hidden(refused, "token")})
    assert Job.objects.filter(customer_id="other").count() == 1


def test_form_names_the_priorities_of_the_newest_jobs(operator: Client) -> None:
    form = reverse("admin:jobs_job_enqueue")
    assert "The newest jobs have" not in operator.get(form).text
    for priority in ("starter", "<b>growth</b>", "starter"):
        job(priority_level=priority)
    assert "The newest jobs have: &lt;b&gt;growth&lt;/b&gt;, starter." in operator.get(form).text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"customer_id": " "}, "This field is required"),
        ({"customer_id": "acme\u200b"}, "Take out the character U+200B"),
        ({"priority": "\u202egrowth"}, "Take out the character U+202E"),
        ({"package_size": "0"}, "greater than or equal to 1"),
        ({"queue": "unknown"}, "Select a valid choice"),
        ({"not_before": "soon"}, "Enter a valid date/time"),
        ({"payload": "[]"}, "is a JSON object"),
        ({"reason": ""}, "Give a reason"),
        ({"token": "x"}, "Enter a valid UUID"),
    ],
)
def test_form_says_what_is_wrong_and_keeps_what_was_typed(
    operator: Client, wrong: dict[str, str], said: str
) -> None:
    page = operator.post(
        reverse("admin:jobs_job_enqueue"), ENQUEUE | {"token": str(uuid4())} | wrong
    ).content.decode()
    assert said in page
    assert not Job.objects.exists()
    if "reason" not in wrong:
        assert "lost in the outage" in page


def test_enqueueing_needs_its_permission() -> None:
    client = Client()
    client.force_login(people.allowed("view_job", "requeue_job"))
    assert (
        reverse("admin:jobs_job_enqueue")
        not in client.get(reverse("admin:jobs_job_changelist")).content.decode()
    )
    assert (
        client.post(reverse("admin:jobs_job_enqueue"), ENQUEUE | {"token": str(uuid4())}).status_code == 403
    )
