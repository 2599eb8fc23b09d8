"""Dead letters through the operator's API: the guards and the audit of the page, and nothing hidden told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from jobs.admin.dead_letters.letter_actions import WITH_JOB_UNSEEN
from jobs.dead_letters import redaction
from jobs.models import DeadLetter, Job, Outbox, ReplayAttempt, Status
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import people
from tests.factories import dead_letter, job
from tests.operators import WHY, Program, audited, statements
from tests.racing import race
from tests.sending import versions_on

pytestmark = pytest.mark.django_db

ALL = ("letters:read", "letters:operate", "jobs:read")


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


def version(program: Program, one: DeadLetter) -> str:
    return str(program.get(f"letters/{one.pk}").json()["letter"]["version"])


def test_list_pages_and_filters_as_the_page_does() -> None:
    made = [dead_letter(age=timedelta(hours=hours)) for hours in range(3)]
    DeadLetter.objects.filter(pk=made[0].pk).update(state="discarded")
    program = Program(*ALL)

    undecided = program.get("letters", limit=1).json()
    rest = program.get("letters", limit=1, after=undecided["next"]).json()
    found = [each["id"] for each in undecided["letters"] + rest["letters"]]
    assert (set(found), rest["next"]) == ({str(made[1].pk), str(made[2].pk)}, None)
    assert [each["id"] for each in program.get("letters", state="discarded").json()["letters"]] == [
        str(made[0].pk)
    ]
    assert len(program.get("letters", state="all", group=made[0].group_id).json()["letters"]) == 3
    assert program.get("letters", q="4218").json()["letters"] == []
    for query in (
        {"state": "lost"},
        {"group": "1' OR 1=1"},
        {"left": "week"},
        {"body__contains": "a"},
        {"dlq": 10**30},
    ):
        assert program.get("letters", **query).status_code == 422, query


def test_list_reads_the_same_number_of_statements_for_more_letters() -> None:
    program = Program(*ALL)
    counts = []
    for number in (1, 15):
        for _ in range(number):
            dead_letter(job(status="failed"), state="replayed")
            dead_letter(job(status="failed"))
        counts.append(statements(lambda: program.get("letters", state="all")))
    assert counts[0] == counts[1] <= 15, counts


def test_body_is_hidden_without_its_scope_and_redacted_with_it(settings: Any) -> None:
    settings.OPSCONSOLE_REDACT_PATHS = ["$.card"]
    redaction._paths.cache_clear()
    one = dead_letter(body=json.dumps({"order": "ORDER-4218", "card": "CARD-4111"}))
    hidden = Program("letters:read").get(f"letters/{one.pk}")
    assert (hidden.json()["body"], hidden.json()["body_hidden"]) == (None, True)
    assert "ORDER-4218" not in hidden.content.decode()

    shown = Program("letters:read", "payloads:read", name="both").get(f"letters/{one.pk}")
    assert '"order": "ORDER-4218"' in shown.json()["body"]
    assert "CARD-4111" not in shown.content.decode()
    alone = Program("payloads:read", name="alone")
    assert alone.get(f"letters/{one.pk}").status_code == alone.get("jobs").status_code == 403


def test_nothing_of_a_job_is_told_to_a_key_that_may_not_see_jobs() -> None:
    of_job = dead_letter(job(status=Status.QUARANTINED, run_epoch=16, customer_id="SECRET-1"))
    blind = Program("letters:read", "letters:operate", name="blind")
    answers = [
        blind.get(f"letters/{of_job.pk}"),
        blind.get("letters"),
        blind.get("letters", q=str(of_job.job_id)),
    ]
    done = blind.change(f"letters/{of_job.pk}/replay", version(blind, of_job))
    assert (done.status_code, done.json()["sentence"]) == (200, WITH_JOB_UNSEEN)
    for answer in [*answers, done]:
        for told in ("quarantine", "SECRET-1", "run 1", str(of_job.job_id)):
            assert told not in answer.content.decode().replace(str(of_job.pk), ""), (told, answer.content)
    assert answers[2].json()["letters"] == []
    seeing = Program(*ALL, name="seeing").get("letters", state="all", q=str(of_job.job_id)).json()["letters"]
    assert [(each["job_id"], each["job_status"]) for each in seeing] == [(str(of_job.job_id), "pending")]


@pytest.mark.parametrize(("action", "did"), [("replay", "Marked for replay."), ("discard", "Discarded.")])
def test_change_leaves_the_same_lines_as_the_page(client: Client, action: str, did: str) -> None:
    by_page, by_program = dead_letter(), dead_letter()
    client.force_login(people.operator())
    page = reverse("admin:jobs_deadletter_operate", args=[action])
    preview = client.get(page, {"id": str(by_page.pk)})
    client.post(page, {"plan": preview.context["form"].initial["plan"], "reason": WHY} | versions_on(preview))
    program = Program(*ALL)

    answer = program.change(f"letters/{by_program.pk}/{action}", version(program, by_program), once="a")

    assert answer.status_code == 200, answer.content
    of_page, of_program = audited()
    assert of_page[2:] == of_program[2:] and of_program[2:4] == (did, WHY)
    assert (of_page[1], of_program[1]) == ("olga", program.actor)
    entries = {row.letter_id: row for row in ReplayAttempt.objects.all()}
    assert entries[by_program.pk].state == entries[by_page.pk].state == "wanted"
    assert entries[by_program.pk].actor == f"api:{program.key}, made by olga"
    assert entries[by_program.pk].reason == WHY
    again = program.change(f"letters/{by_program.pk}/{action}", version(program, by_program))
    assert (again.status_code, again.json()["reason"]) == (409, "refused")


def test_discard_is_taken_back() -> None:
    one = dead_letter()
    program = Program(*ALL)
    program.change(f"letters/{one.pk}/discard", version(program, one))

    restored = program.change(f"letters/{one.pk}/restore", version(program, one))

    assert (restored.status_code, restored.json()["letter"]["state"]) == (200, "in_queue")
    shown = program.get(f"letters/{one.pk}").json()
    assert [(each["action"], each["state"]) for each in shown["ledger"]] == [
        ("discard", "not_done"),
        ("restore", "done"),
    ]


def test_letter_whose_job_changed_is_a_stale_view() -> None:
    one = dead_letter(job(status="failed"))
    program = Program(*ALL)
    seen = version(program, one)
    Job.objects.update(status=Status.COMPLETED)

    stale = program.change(f"letters/{one.pk}/replay", seen)

    assert (stale.status_code, stale.json()["reason"]) == (409, "changed")
    assert stale.json()["current"]["job_status"] == "completed"
    refused = program.change(f"letters/{one.pk}/replay", stale.json()["current"]["version"])
    assert "Its job is completed: discard the letter." in refused.json()["detail"]
    assert program.change(f"letters/{uuid4()}/replay", seen).status_code == 404
    assert audited() == [] and not Outbox.objects.exists()


def test_replaying_and_discarding_are_separate_permissions() -> None:
    one = dead_letter()
    program = Program(*ALL, maker=people.allowed("discard_deadletter"))
    seen = version(program, one)
    assert [each["action"] for each in program.get(f"letters/{one.pk}").json()["actions"]] == [
        "discard",
        "restore",
    ]
    assert program.change(f"letters/{one.pk}/replay", seen).json()["permission"] == "jobs.replay_deadletter"
    assert program.change(f"letters/{one.pk}/discard", seen).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_that_replay_at_once_one_learns_of_the_other() -> None:
    one = dead_letter()
    program = Program(*ALL)
    seen = version(program, one)

    answers = race([lambda: program.change(f"letters/{one.pk}/replay", seen)] * 2)

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert ReplayAttempt.objects.count() == len(audited()) == 1
