"""Jobs through the operator's API: the same answers, guards and audit as on the pages."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.admin.jobs import changelist
from jobs.models import Job, JobEvent, Outbox, Status
from opsconsole.kit.audit_models import Refusal
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import people
from tests.factories import dead_letter, job, run
from tests.operators import WHY, Program, audited, names, statements
from tests.racing import race
from tests.sending import versions_on

pytestmark = pytest.mark.django_db

ALL = ("jobs:read", "jobs:operate")


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


def version(program: Program, one: Job) -> str:
    shown = program.get(f"jobs/{one.pk}").json()
    return str(shown["job"]["version"])


def test_list_pages_by_keyset_and_knows_the_filters_of_the_page() -> None:
    made = [
        job(status=status, customer_id=f"C-{number % 2}")
        for number, status in enumerate(["failed", "pending"] * 3)
    ]
    Job.objects.update(created_at=Now())  # all at one moment: the ids decide
    newest = names(Job.objects.order_by("-created_at", "-pk"))
    program = Program("jobs:read")

    seen: list[str] = []
    after: dict[str, str] = {}
    for _ in range(4):
        answer = program.get("jobs", limit=2, **after).json()
        seen += [each["id"] for each in answer["jobs"]]
        if answer["next"] is None:
            break
        after = {"after": answer["next"]}
    assert seen == newest

    failed = program.get("jobs", status="failed").json()["jobs"]
    assert {each["id"] for each in failed} == {str(each.pk) for each in made[::2]}
    of_customer = program.get("jobs", q="C-1").json()["jobs"]
    assert {each["customer_id"] for each in of_customer} == {"C-1"}
    assert [each["id"] for each in program.get("jobs", q=str(made[0].pk)).json()["jobs"]] == [str(made[0].pk)]


def test_jobs_with_nulls_are_listed_and_paged() -> None:
    """Columns of an existing table may be null, also the time by which the list is sorted."""
    with connection.cursor() as cursor:
        for name in ("customer_id", "priority_level", "created_at"):
            cursor.execute(f"ALTER TABLE jobs ALTER COLUMN {name} DROP NOT NULL")
    made = [job() for _ in range(4)]
    Job.objects.filter(pk__in=[each.pk for each in made[:2]]).update(
        customer_id=None, priority_level=None, created_at=None
    )
    program = Program(*ALL)

    seen: list[str] = []
    after: dict[str, str] = {}
    while len(seen) < len(made):
        answer = program.get("jobs", limit=1, **after).json()
        seen += [each["id"] for each in answer["jobs"]]
        after = {"after": answer["next"]}
    assert seen == names(Job.objects.order_by("-created_at", "-pk"))
    assert after == {"after": None}
    assert program.change(f"jobs/{made[0].pk}/cancel", version(program, made[0])).status_code == 200


def test_filter_without_an_index_reads_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelist, "ROWS_LOOKED_THROUGH", 2)
    rare = job(priority_level="rare", created_at=Now() - timedelta(hours=5))
    for hours in range(4):
        job(created_at=Now() - timedelta(hours=hours))
    program = Program("jobs:read")

    pages: list[list[str]] = []
    after: dict[str, str] = {}
    for _ in range(5):
        answer = program.get("jobs", priority="rare", **after).json()
        pages.append([each["id"] for each in answer["jobs"]])
        if answer["next"] is None:
            break
        after = {"after": answer["next"]}
    assert pages == [[], [], [str(rare.pk)]] or pages == [[], [str(rare.pk)]], pages


def test_list_reads_the_same_number_of_statements_for_more_jobs() -> None:
    program = Program("jobs:read")
    counts = []
    for number in (1, 20):
        for _ in range(number):
            run(silent=timedelta(hours=1), age=timedelta(hours=2), worker=str(uuid4()))
        counts.append(statements(lambda: program.get("jobs")))
    assert counts[0] == counts[1] <= 15, counts


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"status": "faild"}, "status: none of: pending"),
        ({"state": "kept"}, "There is no parameter 'state'"),
        ({"payload__contains": "a"}, "There is no parameter"),
        ({"limit": 0}, "limit"),
        ({"limit": 100_000}, "limit"),
        ({"limit": 10**30}, "limit"),
        ({"after": "x"}, "after: it is not the `next`"),
        ({"after": "WzEsMl0"}, "after"),
        ({"q": "a" * 201}, "q"),
    ],
)
def test_what_a_list_does_not_know_is_refused(query: dict[str, Any], said: str) -> None:
    answer = Program("jobs:read").get("jobs", **query)

    assert answer.status_code == 422, answer.content
    assert said in answer.json()["detail"]


def test_cursor_of_another_question_is_refused() -> None:
    """It would begin in the middle: rows would be missing, and the answer would look whole."""
    for _ in range(3):
        job(status="failed")
        dead_letter(body="{}")
    program = Program("jobs:read", "letters:read")
    following = program.get("jobs", status="failed", limit=2).json()["next"]
    assert len(program.get("jobs", status="failed", limit=1, after=following).json()["jobs"]) == 1
    for others in ({}, {"status": "pending"}, {"status": "failed", "q": "TEST"}):
        refused = program.get("jobs", **others, after=following)
        assert refused.status_code == 422 and "of this list with these filters" in refused.json()["detail"]
    assert program.get("letters", after=following).status_code == 422
    assert program.get("jobs", status="failed", after=following.partition(".")[0]).status_code == 422


def test_parameter_that_occurs_twice_is_refused() -> None:
    answer = Program("jobs:read").get("jobs?status=failed&status=pending")

    assert answer.status_code == 422
    assert "The parameter 'status' occurs more than once." in answer.json()["detail"]


def test_nul_in_an_address_is_refused() -> None:
    assert Program("jobs:read").get("jobs", q="a\0b").status_code == 400


def test_show_tells_what_the_page_tells_and_hides_the_payload() -> None:
    one = job(status="failed", payload={"business": "Café Blüte"}, error_message="directory 7")
    shown = Program("jobs:read").get(f"jobs/{one.pk}").json()
    assert (shown["job"]["status"], shown["job"]["error_message"], shown["payload"]) == (
        "failed",
        "directory 7",
        None,
    )
    assert shown["payload_hidden"] is True
    # A key that may only read is offered no action.
    assert shown["actions"] == []
    both = Program(*ALL, "payloads:read", name="both").get(f"jobs/{one.pk}").json()
    assert (both["payload"], both["payload_hidden"]) == ({"business": "Café Blüte"}, False)
    assert [(each["action"], each["will"]) for each in both["actions"]] == [
        ("requeue", True), ("cancel", False), ("release", False),
    ]  # fmt: skip
    assert "Blüte" not in Program("jobs:read", name="list").get("jobs").content.decode()
    assert Program("jobs:read", name="none").get(f"jobs/{uuid4()}").json()["reason"] == "unknown_job"


def test_requeue_leaves_the_same_lines_as_the_page(client: Client) -> None:
    by_page, by_program = job(status="failed"), job(status="failed")
    client.force_login(people.operator())
    preview = client.get(reverse("admin:jobs_job_operate", args=["requeue"]), {"id": str(by_page.pk)})
    plan = preview.context["form"].initial["plan"]
    client.post(
        reverse("admin:jobs_job_operate", args=["requeue"]),
        {"plan": plan, "reason": WHY} | versions_on(preview),
    )
    program = Program(*ALL)

    answer = program.change(f"jobs/{by_program.pk}/requeue", version(program, by_program))

    assert answer.status_code == 200, answer.content
    assert answer.json()["sentence"] == "Queued for run 2."
    assert (answer.json()["job"]["status"], answer.json()["job"]["run"]) == ("pending", 2)
    of_page, of_program = audited()
    assert of_page[2:] == of_program[2:] == ("Requeued.", WHY, "Queued for run 2.")
    assert (of_page[1], of_program[1]) == ("olga", program.actor)
    assert program.key.hint in program.actor and "made by olga" in program.actor
    events = {each.job_id: each for each in JobEvent.objects.all()}
    assert events[by_program.pk].actor == f"api:{program.key}, made by olga"
    assert events[by_program.pk].kind == events[by_page.pk].kind == "requeued"
    assert set(Outbox.objects.values_list("job_id", "run_epoch")) == {(by_page.pk, 2), (by_program.pk, 2)}


def test_stale_view_is_refused_with_what_is_true_now() -> None:
    one = job(status="failed")
    program = Program(*ALL)
    seen = version(program, one)
    Job.objects.update(status=Status.COMPLETED)

    answer = program.change(f"jobs/{one.pk}/requeue", seen)

    assert (answer.status_code, answer.json()["reason"]) == (409, "changed")
    current = answer.json()["current"]
    assert current["status"] == "completed" and current["version"] == version(program, one) != seen
    refused = program.change(f"jobs/{one.pk}/requeue", current["version"])
    assert (refused.status_code, refused.json()["reason"]) == (409, "refused")
    assert refused.json()["current"] == current
    assert audited() == [] and not JobEvent.objects.exists()


def test_living_run_is_not_requeued() -> None:
    one = run(silent=timedelta(0))
    program = Program(*ALL)

    refused = program.change(f"jobs/{one.pk}/requeue", version(program, one))

    assert (refused.status_code, refused.json()["reason"]) == (409, "refused")
    assert "Cancel it first if it must not continue" in refused.json()["detail"]


def test_repeated_request_with_a_key_changes_nothing_twice() -> None:
    one = job(status="failed")
    program = Program(*ALL)
    seen = version(program, one)

    first = program.change(f"jobs/{one.pk}/requeue", seen, once="try-1")
    again = program.change(f"jobs/{one.pk}/requeue", seen, once="try-1")

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert len(audited()) == Outbox.objects.count() == 1
    for path, more in ((f"jobs/{one.pk}/cancel", {}), (f"jobs/{one.pk}/requeue", {"reason": "another"})):
        answer = program.change(path, seen, once="try-1", **more)
        assert (answer.status_code, "already used" in answer.json()["detail"]) == (422, True)
    assert program.change(f"jobs/{one.pk}/requeue", seen, once="ä").status_code == 422
    # What is refused keeps nothing: the key can be used for the corrected request.
    assert program.change(f"jobs/{one.pk}/requeue", seen, once="try-2").status_code == 409
    now = version(program, one)
    assert program.change(f"jobs/{one.pk}/cancel", now, once="try-2").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": WHY},
        {"reason": "", "version": "0" * 32},
        {"reason": "  ", "version": None},
        {"reason": "a" * 501, "version": "0" * 32},
        {"reason": 7, "version": "0" * 32},
        {"reason": WHY, "version": "0" * 33},
        {"reason": WHY, "version": 10**40},
        {"reason": WHY, "version": "0" * 32, "status": "completed"},
        [],
        "requeue",
    ],
)
def test_body_that_is_not_as_described_is_refused(body: Any) -> None:
    one = job(status="failed")

    assert Program(*ALL).post(f"jobs/{one.pk}/requeue", body).status_code == 422
    assert audited() == []


def test_reason_of_nothing_visible_is_refused_and_nul_is_taken_away() -> None:
    one = job(status="failed")
    program = Program(*ALL)
    seen = version(program, one)
    blank = program.post(f"jobs/{one.pk}/requeue", {"reason": "\u0000\u200b ", "version": seen})
    assert blank.status_code == 422 and "Give a reason" in blank.json()["detail"]
    assert (
        program.post(f"jobs/{one.pk}/requeue", {"reason": "a\u0000b\ud800", "version": seen}).status_code
        == 200
    )
    assert JobEvent.objects.get().reason == "ab?"


def test_key_does_no_more_than_its_maker_could_or_can() -> None:
    """A permission that the maker gains later is none of the key; one that the maker loses is gone for the key."""
    maker = people.allowed("cancel_job")
    one = job()
    program = Program(*ALL, maker=maker)
    seen = version(program, one)
    assert program.key.permissions == [
        "jobs.cancel_job", "jobs.view_bulkoperation", "jobs.view_job", "jobs.view_outbox", "jobs.view_queuestate",
    ]  # fmt: skip

    maker.user_permissions.add(Permission.objects.get(codename="requeue_job"))
    lacks = program.change(f"jobs/{one.pk}/requeue", seen)
    assert (lacks.status_code, lacks.json()["permission"]) == (403, "jobs.requeue_job")

    maker.user_permissions.remove(Permission.objects.get(codename="cancel_job"))
    lost = program.change(f"jobs/{one.pk}/cancel", seen)
    assert (lost.status_code, lost.json()["reason"]) == (403, "permission")
    assert "'paul'" in lost.json()["detail"]

    for field in ("is_active", "is_staff"):
        User.objects.filter(pk=maker.pk).update(**{field: False})
        gone = program.post(f"jobs/{one.pk}/cancel", {"reason": WHY, "version": seen})
        assert (gone.status_code, gone.json()["reason"]) == (403, "maker")
        User.objects.filter(pk=maker.pk).update(**{field: True})
    assert program.get("jobs").status_code == 200
    assert audited() == []
    counted = "\n".join(Refusal.objects.filter(kind="scope").values_list("subject", flat=True))
    assert f"{program.key} lacks jobs.requeue_job: POST /api/operator/jobs/" in counted
    assert "lacks jobs.cancel_job" in counted and "lacks the account that made it" in counted


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_requeues_and_the_other_learns_what_is_true() -> None:
    one = job(status="failed")
    programs = [Program(*ALL, name=name) for name in ("first", "second")]
    seen = version(programs[0], one)

    answers = race([partial(each.change, f"jobs/{one.pk}/requeue", seen) for each in programs])

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert next(each for each in answers if each.status_code == 409).json()["current"]["run"] == 2
    assert len(audited()) == Outbox.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_key_twice_at_once_is_one_change() -> None:
    one = job(status="failed")
    program = Program(*ALL)
    seen = version(program, one)

    answers = race([lambda: program.change(f"jobs/{one.pk}/requeue", seen, once="try-1")] * 2)

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(audited()) == Outbox.objects.count() == 1
