"""Tests of what the page of a job says of bulk operations under way that have not come to it yet."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from jobs.bulk import decisions, turns
from jobs.bulk.turns import Turn
from jobs.models import BulkMember, BulkOperation, Job, Status
from opsconsole.kit import one_statement
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import dead_letter, job
from tests.jobs.bulk.helpers import ADA, begun, chunk, fresh, preview

pytestmark = pytest.mark.django_db

STAYS = "What happens next"


@pytest.fixture(autouse=True)
def _one_queue(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}


def read(made: Job) -> list[Turn]:
    found: list[Turn] = one_statement.read(turns=turns.of_job(Job.objects.with_evidence().get(pk=made.pk)))[
        "turns"
    ]
    return found


def page(client: Client, made: Job) -> str:
    response = client.get(reverse("admin:jobs_job_change", args=[made.pk]))
    assert response.status_code == 200
    return response.content.decode()


def test_page_of_a_failed_job_links_to_the_operation_that_will_requeue_it(operator: Client) -> None:
    made = job(status=Status.FAILED)
    assert STAYS in page(operator, made)
    operation = begun([made])

    shown = page(operator, made)

    link = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    assert f'<a href="{link}">Bulk operation {operation.pk}</a> will requeue it, unless' in shown
    # That nothing runs it again by itself would be wrong now.
    assert STAYS not in shown
    chunk(operation)
    assert link not in page(operator, made)


def test_waiting_job_is_told_of_its_cancel(operator: Client) -> None:
    made = job()
    operation = begun([made], "cancel")
    assert f"Bulk operation {operation.pk}</a> will cancel it, unless" in page(operator, made)


def test_only_operations_under_way_have_turns() -> None:
    made = job(status=Status.FAILED)
    preview([made])
    assert read(made) == []
    operation = begun([made])
    assert [turn.operation for turn in read(made)] == [operation.pk]
    assert read(job(status=Status.FAILED)) == []
    decisions.cancel(fresh(operation), ADA, "no")
    assert read(made) == []
    decisions.resume(fresh(operation), ADA, "yes")
    assert [turn.will for turn in read(made)] == [True]


def test_job_that_changed_will_be_left_alone(operator: Client) -> None:
    made = job(status=Status.FAILED)
    operation = begun([made])
    Job.objects.filter(pk=made.pk).update(run_epoch=made.run_epoch + 1)
    assert [turn.will for turn in read(made)] == [False]
    shown = page(operator, made)
    assert "will leave it alone: it changed since it was chosen." in shown and STAYS in shown
    chunk(operation)
    assert operation.members.get().outcome == BulkMember.Outcome.SKIPPED


def test_operation_on_letters_is_no_turn_of_a_job() -> None:
    made = job(status=Status.FAILED)
    begun_on_letters = BulkOperation.objects.create(
        action="replay", state="running", scope="x", actor="operator:ada"
    )
    BulkMember.objects.create(operation=begun_on_letters, subject=str(made.pk))
    assert dead_letter(made).pk != made.pk
    assert read(made) == []


def test_who_may_not_see_bulk_operations_is_not_told(client: Client) -> None:
    made = job(status=Status.FAILED)
    begun([made])
    user = people.viewer()
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_bulkoperation"))
    client.force_login(User.objects.get(pk=user.pk))
    assert "will requeue it" not in page(client, made)


def test_members_are_found_by_their_own_index() -> None:
    operation = begun([job(status=Status.FAILED) for _ in range(2)])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bulk_members (operation_id, subject) SELECT %s, gen_random_uuid()::text FROM generate_series(1, 20000)",
            [operation.pk],
        )
        cursor.execute("ANALYZE bulk_members")
        reading = turns.of_job(Job.objects.with_evidence().first())  # type: ignore[arg-type]  # there is one
        cursor.execute(f"EXPLAIN {reading.sql}", reading.params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "bulk_members_subject_idx" in plan, plan
