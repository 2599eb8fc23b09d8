"""Tests of previews that the cluster freezes: page by page, each row once, and confirmed only as a whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.bulk import background_freezing, chunks, decisions, freezing
from jobs.bulk.kinds import BulkRefused
from jobs.bulk.registry import kind_of
from jobs.models import BulkOperation, DeadLetter, Job, Status
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import dead_letter, job, run
from tests.jobs.bulk.helpers import ADA, REASON, RUNNER, fresh, many, planned
from tests.sending import send

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_job_changelist")
HOUR = timedelta(hours=1)
State = BulkOperation.State


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.OPSCONSOLE_BULK_AT_ONCE = 2
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/dlq")}
    monkeypatch.setattr(background_freezing, "AT_ONCE", 4)
    monkeypatch.setattr(background_freezing, "PAGE", 3)


def prepare(chosen: Any = None, action: str = "requeue") -> BulkOperation:
    rows = Job.objects.all() if chosen is None else chosen
    return background_freezing.prepare(kind_of(action), rows, ADA, scope="all jobs")


def freeze_all(operation: BulkOperation) -> BulkOperation:
    for _ in range(100):
        if fresh(operation).state != State.FREEZING:
            return fresh(operation)
        assert chunks.work(fresh(operation), RUNNER)
    raise AssertionError("It never ends.")


def test_few_rows_are_a_preview_at_once() -> None:
    many(4)
    operation = prepare()
    assert (operation.state, operation.will) == (State.PREVIEW, 4)


def test_preview_of_many_is_the_one_that_is_frozen_at_once() -> None:
    for number, status in enumerate([*Status.values, "theirs"]):
        many(2, status=status, run_epoch=1 + number, customer_id=f"100 % {number}")
    run(age=2 * HOUR, silent=HOUR)
    chosen = Job.objects.filter(customer_id__contains="%") | Job.objects.filter(status="in_progress")

    operation = freeze_all(prepare(chosen))
    at_once = freezing.freeze(kind_of("requeue"), chosen, ADA, scope="all jobs")

    assert planned(operation) == planned(at_once)
    for will in (True, False):
        counted = [
            (each.seen_status, each.seen_reason, each.count) for each in freezing.groups(operation, will=will)
        ]
        read = [
            (each.seen_status, each.seen_reason, each.count) for each in freezing.groups(at_once, will=will)
        ]
        assert sorted(counted) == sorted(read)
    assert (operation.state, operation.choice) == (State.PREVIEW, "")
    assert (operation.total, operation.will, operation.capped) == (at_once.total, at_once.will, False)


def test_letters_without_a_time_of_sending_come_last() -> None:
    made = [dead_letter() for _ in range(6)]
    DeadLetter.objects.filter(pk__in=[each.pk for each in made[:4]]).update(sent_at=None)

    operation = freeze_all(prepare(DeadLetter.objects.all(), "discard"))
    at_once = freezing.freeze(kind_of("discard"), DeadLetter.objects.all(), ADA, scope="all")

    assert operation.total == 6
    assert planned(operation) == planned(at_once)


def test_no_more_than_one_operation_may_have(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_MOST = 7
    jobs = many(9)

    operation = freeze_all(prepare())

    assert (operation.total, operation.will, operation.capped) == (7, 7, True)
    oldest = [str(each.pk) for each in jobs[:7]]
    assert sorted(operation.members.values_list("subject", flat=True)) == sorted(oldest)


def test_lower_limit_ends_a_preparation(settings: Any) -> None:
    many(9)
    operation = prepare()
    chunks.work(operation, RUNNER)
    settings.OPSCONSOLE_BULK_MOST = 1

    frozen = freeze_all(operation)

    assert (frozen.state, frozen.total, frozen.capped) == (State.PREVIEW, 3, True)


def test_confirmed_preview_is_begun_at_once_by_any_runner() -> None:
    many(6)
    frozen = freeze_all(prepare())
    decisions.begin(frozen, ADA, REASON, typed="6")
    assert BulkOperation.objects.due_for("runner-2").exists()


def test_only_a_whole_preview_is_confirmed_and_only_what_is_in_it() -> None:
    many(6)
    operation = prepare()
    chunks.work(operation, RUNNER)
    with pytest.raises(BulkRefused, match="still being prepared"):
        decisions.begin(fresh(operation), ADA, REASON, typed="3")

    frozen = freeze_all(operation)
    later = job(status=Status.FAILED)
    decisions.begin(frozen, ADA, REASON, typed="6")

    assert fresh(operation).state == State.RUNNING
    assert not operation.members.filter(subject=str(later.pk)).exists()


def test_page_is_frozen_by_one_runner_at_a_time() -> None:
    many(6)
    operation = prepare()
    assert chunks.work(operation, RUNNER)
    assert not chunks.work(fresh(operation), "runner-2")
    BulkOperation.objects.update(leased_until=Now())
    assert chunks.work(fresh(operation), "runner-2")
    assert fresh(operation).total == 6


def test_cancelled_preparation_ends_and_cannot_be_resumed() -> None:
    many(6)
    operation = prepare()
    chunks.work(operation, RUNNER)

    decisions.cancel(fresh(operation), ADA, REASON)

    assert not chunks.work(fresh(operation), RUNNER)
    assert (fresh(operation).state, fresh(operation).remaining) == (State.CANCELLED, 0)
    with pytest.raises(BulkRefused, match="stopped"):
        decisions.resume(fresh(operation), ADA, REASON)
    assert not BulkOperation.objects.due_for(RUNNER).exists()


def test_choice_that_this_console_did_not_sign_is_not_carried_out() -> None:
    many(6)
    operation = prepare()
    BulkOperation.objects.update(choice="SELECT id, now() FROM jobs:signature")
    for _ in range(chunks.MOST_TROUBLES):
        BulkOperation.objects.update(due_at=Now())
        chunks.work(fresh(operation), RUNNER)

    stopped = fresh(operation)
    assert (stopped.state, stopped.total, stopped.members.count()) == (State.STOPPED, 0, 0)
    assert "not signed with this console's secret key" in stopped.sentence


def prepared_on_the_list(client: Client) -> str:
    """Choose all failed jobs of the list; return the address of the page that follows."""
    chosen = {"action": "requeue_selected", "index": "0", "select_across": "1"}
    some = str(Job.objects.earliest("created_at").pk)
    page: str = client.post(f"{LIST}?status=failed", chosen | {"_selected_action": [some]}).headers[
        "Location"
    ]
    return page


def test_page_follows_the_preparation_and_becomes_the_preview(client: Client) -> None:
    many(6)
    client.force_login(people.operator())
    page = prepared_on_the_list(client)
    operation = BulkOperation.objects.get()
    progress = reverse("admin:jobs_bulkoperation_progress", args=[operation.pk])

    assert "0 jobs so far" in client.get(page).content.decode()
    chunks.work(operation, RUNNER)
    assert "3 jobs so far" in client.get(progress).content.decode()
    freeze_all(operation)
    assert client.get(progress).status_code == 205
    assert "Type 6 to confirm" in client.get(page).content.decode()

    client.force_login(people.operator("other"))
    assert (client.get(page).status_code, client.get(progress).status_code) == (403, 404)


def test_preparation_is_cancelled_on_its_page(client: Client) -> None:
    many(6)
    client.force_login(people.operator())
    page = prepared_on_the_list(client)
    operation = BulkOperation.objects.get()
    decide = reverse("admin:jobs_bulkoperation_decide", args=[operation.pk, "cancel"])

    send(client, decide, {"reason": REASON}, page=page)

    assert fresh(operation).state == State.CANCELLED
    assert "never: it was not confirmed" in client.get(page).content.decode()
