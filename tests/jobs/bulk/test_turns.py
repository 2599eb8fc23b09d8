"""Tests of what the pages of a job, a dead letter and a failure group say of bulk operations that have not come to it yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.admin.dead_letters.letter_actions import NOT_WITH_JOB_UNSEEN
from jobs.bulk import decisions, freezing, turns
from jobs.bulk.registry import kind_of
from jobs.bulk.turns import GroupTurn, Turn
from jobs.dead_letters import requeue
from jobs.models import BulkMember, BulkOperation, DeadLetter, Job, Status
from opsconsole.kit import one_statement
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, beat, dead_letter, failure_group, job, run
from tests.jobs.bulk.helpers import ADA, begun, chunk, finish, fresh, preview
from tests.operators import Program

pytestmark = pytest.mark.django_db

STAYS = "What happens next"
HOUR = timedelta(hours=1)


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


def test_requeue_leaves_a_run_alone_whose_worker_proved_alive() -> None:
    stale = run(age=HOUR, silent=HOUR, deadline_at=Now() - SECOND)
    operation = begun([stale])
    assert [turn.will for turn in read(stale)] == [True]
    beat("worker-1", stale.pk, 1)
    [turn] = read(stale)
    assert not turn.will and "past its deadline" in turn.why, turn
    chunk(operation)
    assert operation.members.get().outcome == BulkMember.Outcome.SKIPPED


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


def begun_on_letters(action: str = "replay", **chosen: Any) -> BulkOperation:
    operation = freezing.freeze(kind_of(action), DeadLetter.objects.filter(**chosen), ADA, scope="some")
    decisions.begin(operation, ADA, "no need", typed=str(operation.will))
    return fresh(operation)


def of_letter(letter: DeadLetter) -> list[Turn]:
    now = DeadLetter.objects.get(pk=letter.pk)
    named = requeue.jobs_of([now]).get(now.job_id)
    found: list[Turn] = one_statement.read(turns=turns.of_letter(now, named))["turns"]
    return found


def letter_page(client: Client, letter: DeadLetter) -> str:
    response = client.get(reverse("admin:jobs_deadletter_change", args=[letter.pk]))
    assert response.status_code == 200
    return response.content.decode()


def test_page_of_a_letter_names_the_operation_that_will_replay_it(operator: Client) -> None:
    letter = dead_letter()
    assert "Bulk operation" not in letter_page(operator, letter).split('id="content-main"')[1]
    operation = begun_on_letters()
    link = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    assert f'<a href="{link}">Bulk operation {operation.pk}</a> will replay it, unless' in letter_page(
        operator, letter
    )
    finish(operation)
    assert link not in letter_page(operator, letter)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"state": "kept"}, ""),
        ({"state": "discarded"}, ""),
    ],
)
def test_letter_that_changed_will_be_left_alone(change: dict[str, str], why: str) -> None:
    letter = dead_letter()
    operation = begun_on_letters()
    DeadLetter.objects.filter(pk=letter.pk).update(**change)
    assert of_letter(letter) == [Turn(operation.pk, "replay", will=False, why=why)]
    finish(operation)
    assert operation.members.get().outcome == BulkMember.Outcome.SKIPPED


@pytest.mark.parametrize(
    ("status", "epoch", "why"),
    [
        ("completed", 1, "Its job is completed: discard the letter."),
        ("failed", 2, ""),
    ],
)
def test_letter_whose_job_changed_will_be_left_alone(status: str, epoch: int, why: str) -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    operation = begun_on_letters()
    assert [turn.will for turn in of_letter(letter)] == [True]
    Job.objects.filter(pk=made.pk).update(status=status, run_epoch=epoch)
    assert of_letter(letter) == [Turn(operation.pk, "replay", will=False, why=why)]
    finish(operation)
    assert operation.members.get().outcome == BulkMember.Outcome.SKIPPED


def test_operation_on_jobs_is_no_turn_of_a_letter() -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made, id=made.pk)
    begun([made])
    assert of_letter(letter) == []
    assert of_group(letter.group_id) == []


def test_page_of_a_letter_tells_nothing_of_a_job_that_the_person_may_not_see(client: Client) -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    begun_on_letters()
    Job.objects.filter(pk=made.pk).update(status="completed")
    user = people.viewer()
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_job"))
    client.force_login(User.objects.get(pk=user.pk))
    shown = letter_page(client, letter)
    assert NOT_WITH_JOB_UNSEEN in shown and "completed" not in shown


def test_page_of_a_job_names_the_operation_that_will_replay_its_letter(operator: Client) -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    dead_letter(job(status=Status.FAILED))
    operation = begun_on_letters()
    shown = page(operator, made)
    words = f"Bulk operation {operation.pk}</a> will replay its dead letter {str(letter.pk)[:8]}, unless it changes"
    assert words in shown and STAYS not in shown
    [turn] = Program("jobs:read", "letters:read").get(f"jobs/{made.pk}").json()["turns"]
    assert (turn["operation"], turn["action"], turn["will"]) == (operation.pk, "replay", True)

    DeadLetter.objects.filter(pk=letter.pk).update(state="discarded")
    assert words not in page(operator, made) and STAYS in page(operator, made)
    DeadLetter.objects.filter(pk=letter.pk).update(state="in_queue")
    assert words in page(operator, made)
    finish(operation)
    assert words not in page(operator, made)
    assert operation.members.get(subject=str(letter.pk)).outcome == BulkMember.Outcome.DONE


def test_operation_that_discards_letters_is_no_turn_of_their_jobs(operator: Client) -> None:
    made = job(status=Status.FAILED)
    dead_letter(made)
    begun_on_letters("discard")
    assert "Bulk operation" not in page(operator, made).split('id="content-main"')[1]


def of_group(group_id: int) -> list[GroupTurn]:
    found: list[GroupTurn] = one_statement.read(turns=turns.of_group(group_id))["turns"]
    return found


def test_page_of_a_group_counts_the_letters_that_each_operation_will_act_on(operator: Client) -> None:
    made = [dead_letter(age=number * SECOND) for number in range(3)]
    other = dead_letter(group=failure_group("refused"))
    group = made[0].group_id
    replay = begun_on_letters(group=group)
    discard = begun_on_letters("discard", pk=made[0].pk)
    assert of_group(group) == [
        GroupTurn(replay.pk, "replay", 3, beyond=False),
        GroupTurn(discard.pk, "discard", 1, beyond=False),
    ]
    assert of_group(other.group_id) == []
    shown = operator.get(reverse("admin:jobs_failuregroup_change", args=[group])).content.decode()
    for operation, words in (
        (replay, "will replay 3 dead letters of this group, unless they change or the operation stops"),
        (discard, "will discard 1 dead letter of this group, unless it changes or the operation stops"),
    ):
        assert f"Bulk operation {operation.pk}</a> {words}" in shown
    finish(replay)
    assert [turn.action for turn in of_group(group)] == ["discard"]


def test_page_of_a_group_says_how_far_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_OF_A_GROUP", 2)
    made = [dead_letter() for _ in range(3)]
    begun_on_letters()
    [turn] = of_group(made[0].group_id)
    assert turn.sentence.startswith("will replay 2 of the newest 2 dead letters of this group, unless")


def test_members_of_a_group_are_found_by_their_own_index() -> None:
    letter = dead_letter()
    operation = begun_on_letters()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bulk_members (operation_id, subject, will) "
            "SELECT %s, gen_random_uuid()::text, true FROM generate_series(1, 20000)",
            [operation.pk],
        )
        reading = turns.of_group(letter.group_id)
        for analyze in ("SELECT 1", "ANALYZE bulk_members, dead_letters"):
            cursor.execute(analyze)
            cursor.execute(f"EXPLAIN {reading.sql}", reading.params)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "bulk_members_subject_idx" in plan, plan


def test_api_tells_the_turns_that_the_pages_tell() -> None:
    made = job(status=Status.FAILED)
    letter = dead_letter(made)
    requeue_it, replay_it = begun([made]), begun_on_letters()
    program = Program("jobs:read", "letters:read")
    for path, operation, verb in (
        (f"jobs/{made.pk}", requeue_it, "requeue"),
        (f"letters/{letter.pk}", replay_it, "replay"),
    ):
        turn, *others = program.get(path).json()["turns"]
        assert (turn["operation"], turn["action"], turn["will"]) == (operation.pk, verb, True)
        # The letter's replay is the job's second one.
        assert [each["operation"] for each in others] == [replay_it.pk] * (verb == "requeue")
        assert turn["sentence"].startswith(f"Bulk operation {operation.pk} will {verb} it, unless")
    chunk(requeue_it)
    assert program.get(f"jobs/{made.pk}").json()["turns"] == []
    # Its letter was settled with it.
    assert [turn["will"] for turn in program.get(f"letters/{letter.pk}").json()["turns"]] == [False]
