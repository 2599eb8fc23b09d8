"""Bulk operations through the operator's API: frozen members, a number to confirm, progress, and nothing hidden told."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db.models.functions import Now

from jobs.admin.bulk.member_lines import JOB_UNSEEN
from jobs.admin.bulk.operation_page import MEMBERS_A_PAGE
from jobs.bulk import background_freezing, chunks
from jobs.models import BulkMember, BulkOperation, DeadLetter, Job, Status
from opsconsole_worker.environment import QueueConfig
from ratelimits.keys import api_keys
from tests import people
from tests.factories import dead_letter, job
from tests.operators import WHY, Program, audited, names, statements
from tests.racing import race

pytestmark = pytest.mark.django_db

JOBS = ("jobs:read", "jobs:operate")
LETTERS = ("letters:read", "letters:operate")


@pytest.fixture(autouse=True)
def _surroundings(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:1/0/default", None)}
    api_keys.clear_cache()


def preview(program: Program, **asked: Any) -> Any:
    answer = program.post("bulk", asked)
    assert answer.status_code == 200, answer.content
    return answer.json()


def confirm(program: Program, operation: dict[str, Any], *, once: str = "", **more: Any) -> Any:
    body = {"will": operation["will"]} | more
    return program.change(f"bulk/{operation['number']}/confirm", operation["version"], once=once, **body)


def test_preview_freezes_what_the_filters_of_the_list_choose() -> None:
    failed = [job(status="failed") for _ in range(3)]
    job(status="completed")
    program = Program(*JOBS)

    shown = preview(program, action="requeue", filters={"status": "failed"})

    operation = shown["operation"]
    assert (operation["state"], operation["total"], operation["will"]) == ("preview", 3, 3)
    assert operation["scope"] == "status: Failed"
    assert [(each["count"], each["status"]) for each in shown["will"]] == [(3, "failed")]
    assert {each["id"] for each in shown["sample"]} == set(names(failed))
    job(status="failed")  # matches later, and is not touched
    assert BulkMember.objects.count() == 3
    assert not audited() and not Job.objects.filter(status="pending").exists()


def test_large_preview_is_prepared_by_the_cluster_and_confirmed_when_it_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background_freezing, "AT_ONCE", 2)
    monkeypatch.setattr(background_freezing, "PAGE", 2)
    for _ in range(3):
        job(status="failed")
    job(status="completed")
    program, other = Program(*JOBS), Program(*JOBS, name="other")

    answer = program.post("bulk", {"action": "requeue", "all": True}, once="a")

    assert (answer.status_code, list(answer.json())) == (202, ["operation"])
    again = program.post("bulk", {"action": "requeue", "all": True}, once="a")
    assert (again.status_code, again.json()) == (202, answer.json())
    operation = answer.json()["operation"]
    address = f"bulk/{operation['number']}/preview"
    assert (operation["state"], operation["total"], operation["will"]) == ("freezing", 0, 0)
    assert not BulkMember.objects.exists()
    early = confirm(program, operation)
    assert (early.status_code, "still being prepared" in early.json()["detail"]) == (409, True)

    freeze_a_page(operation)
    under_way = program.get(address)
    assert (under_way.status_code, under_way.json()["operation"]["total"]) == (202, 2)
    assert other.get(address).status_code == 404
    while program.get(address).status_code == 202:
        freeze_a_page(operation)

    whole = program.get(address).json()
    assert [(each["count"], each["status"]) for each in whole["will"]] == [(3, "failed")]
    assert [(each["count"], each["status"]) for each in whole["skipped"]] == [(1, "completed")]
    assert confirm(program, whole["operation"]).json()["state"] == "running"
    gone = program.get(address)
    assert (gone.status_code, gone.json()["reason"]) == (404, "no_preview")
    work(operation)
    assert program.get(f"bulk/{operation['number']}").json()["operation"]["done"] == 3


def freeze_a_page(operation: dict[str, Any]) -> None:
    assert chunks.work(BulkOperation.objects.get(pk=operation["number"]), "the test")


def test_preview_that_is_being_prepared_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_freezing, "AT_ONCE", 1)
    for _ in range(2):
        job(status="failed")
    program = Program(*JOBS)
    operation = program.post("bulk", {"action": "requeue", "all": True}).json()["operation"]

    ended = program.change(f"bulk/{operation['number']}/cancel", operation["version"])

    assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")
    assert not BulkOperation.objects.due_for("the test").exists()


def test_what_would_be_refused_is_told_by_reason() -> None:
    some = [job(status="failed"), job(status="completed"), job()]
    shown = preview(Program(*JOBS), action="requeue", ids=names(some))

    assert (shown["operation"]["total"], shown["operation"]["will"]) == (3, 1)
    assert {(each["status"], each["sentence"]) for each in shown["skipped"]} == {
        ("completed", "It is completed."), ("pending", "It is already waiting."),
    } or len(shown["skipped"]) == 2  # fmt: skip
    assert shown["operation"]["scope"] == "selected rows"


def test_confirmed_operation_is_carried_out_and_followed() -> None:
    made = [job(status="failed") for _ in range(2)]
    program = Program(*JOBS)
    operation = preview(program, action="requeue", all=True)["operation"]
    Job.objects.filter(pk=made[0].pk).update(status=Status.COMPLETED)

    begun = confirm(program, operation, once="a")

    assert (begun.status_code, begun.json()["state"], begun.json()["reason"]) == (200, "running", WHY)
    assert confirm(program, operation, once="a").json() == begun.json()
    again = confirm(program, operation)
    assert (again.status_code, again.json()["reason"], again.json()["current"]["state"]) == (
        409,
        "changed",
        "running",
    )
    [line] = audited()
    assert line[1:4] == (program.actor, "Begun: 0 done, 0 skipped, 0 failed, 2 left.", WHY)
    work(operation)
    shown = program.get(f"bulk/{operation['number']}").json()
    assert (shown["operation"]["state"], shown["operation"]["done"], shown["operation"]["skipped"]) == (
        "ended",
        1,
        1,
    )
    assert {each["id"]: each["outcome"] for each in shown["members"]} == {
        str(made[0].pk): "skipped",
        str(made[1].pk): "done",
    }
    assert [(each["text"], each["count"]) for each in shown["results"]] == [("Still waiting or running", 1)]
    assert shown["not_done"][0]["text"].startswith("It changed in the meantime")
    assert [each["kind"] for each in shown["events"]] == ["begun", "ended"]
    done = program.get(f"bulk/{operation['number']}", outcome="done").json()["members"]
    assert [each["id"] for each in done] == [str(made[1].pk)]
    assert [each["result"] and each["result"]["text"] for each in shown["members"]] == [
        "Still waiting or running" if each["outcome"] == "done" else None for each in shown["members"]
    ]


def test_each_member_says_what_became_of_it_and_the_pages_hold_all_of_them() -> None:
    made = [job(status="failed") for _ in range(MEMBERS_A_PAGE + 2)]
    program = Program(*JOBS)
    operation = confirm(program, preview(program, action="requeue", all=True)["operation"]).json()
    BulkOperation.objects.update(trial_passed=True)
    work(operation)
    again, through = made[0], made[1]
    Job.objects.filter(pk=again.pk).update(status=Status.FAILED, error_message="ValueError:  no address")
    Job.objects.filter(pk=through.pk).update(status=Status.COMPLETED)

    results: dict[str, Any] = {}
    after: dict[str, str] = {}
    pages = 0
    while True:
        shown = program.get(f"bulk/{operation['number']}", **after).json()
        results |= {each["id"]: each["result"] for each in shown["members"]}
        pages += 1
        if shown["next"] is None:
            break
        after = {"after": shown["next"]}

    assert (pages, set(results)) == (2, set(names(made)))
    assert results[str(again.pk)] == {
        "text": "Failed again",
        "again": None,
        "error": "ValueError: no address",
    }
    assert results[str(through.pk)] == {"text": "Completed", "again": None, "error": None}
    counted = Counter(each["text"] for each in results.values())
    assert counted == {each["text"]: each["count"] for each in shown["results"]}


def test_replayed_letter_names_the_letter_as_which_it_failed_again() -> None:
    first = dead_letter(job(status="failed"))
    program = Program(*JOBS, *LETTERS)
    operation = confirm(program, preview(program, action="replay", all=True)["operation"]).json()
    work(operation)
    DeadLetter.objects.filter(pk=first.pk).update(state=DeadLetter.State.REPLAYED)
    second = dead_letter(first.job, returned_from=first, returns=1)

    [member] = program.get(f"bulk/{operation['number']}").json()["members"]

    assert member["result"]["again"] == str(second.pk), member


def work(operation: dict[str, Any]) -> None:
    """Carry out the operation as the cluster does."""
    while BulkOperation.objects.filter(pk=operation["number"], state="running").exists():
        BulkOperation.objects.update(due_at=Now(), leased_until=Now())
        assert chunks.work(BulkOperation.objects.get(pk=operation["number"]), "the test")


def test_another_number_an_old_preview_and_the_preview_of_another_key_are_refused() -> None:
    job(status="failed")
    program, other = Program(*JOBS), Program(*JOBS, name="other")
    operation = preview(program, action="requeue", all=True)["operation"]

    wrong = confirm(program, operation, will=2)
    assert (wrong.status_code, "is about 1, not 2" in wrong.json()["detail"]) == (409, True)
    assert (
        confirm(other, operation).status_code == other.get(f"bulk/{operation['number']}").status_code == 404
    )
    BulkOperation.objects.update(created_at=Now() - timedelta(hours=2))
    old = confirm(program, operation)
    assert (old.status_code, old.json()["reason"]) == (409, "refused")
    assert "older than an hour" in old.json()["detail"]
    for number in (operation["number"] + 1, 2**63, 10**40):
        assert program.get(f"bulk/{number}").status_code == 404
    assert audited() == [] and BulkOperation.objects.get().state == "preview"


def test_operation_is_cancelled_and_resumed() -> None:
    job(status="failed")
    program = Program(*JOBS)
    operation = confirm(program, preview(program, action="requeue", all=True)["operation"]).json()

    cancelled = program.change(f"bulk/{operation['number']}/cancel", operation["version"])
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    refused = program.change(f"bulk/{operation['number']}/cancel", cancelled.json()["version"])
    assert (refused.status_code, refused.json()["reason"]) == (409, "refused")
    stale = program.change(f"bulk/{operation['number']}/resume", operation["version"])
    assert (stale.status_code, stale.json()["reason"]) == (409, "changed")
    resumed = program.change(f"bulk/{operation['number']}/resume", cancelled.json()["version"])
    assert resumed.json()["state"] == "running"
    assert [line[2].partition(":")[0] for line in audited()] == ["Begun", "Stopped", "Resumed"]


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "requeue"},
        {"action": "delete", "all": True},
        {"action": "requeue", "all": True, "ids": ["x"]},
        {"action": "requeue", "all": False},
        {"action": "requeue", "all": "yes"},
        {"action": "requeue", "ids": []},
        {"action": "requeue", "ids": ["x"]},
        {"action": "requeue", "ids": [7]},
        {"action": "requeue", "ids": [str(uuid4())] * 501},
        {"action": "requeue", "filters": {}},
        {"action": "requeue", "filters": {"status": "faild"}},
        {"action": "requeue", "filters": {"state": "kept"}},
        {"action": "requeue", "filters": {"payload__contains": "a"}},
        {"action": "requeue", "filters": {"status": "failed\0"}},
        {"action": "requeue", "filters": {"p": "2"}},
        {"action": "requeue", "filters": {"status": ["failed"]}},
        {"action": "replay", "filters": {"status": "failed"}},
        {"action": "requeue", "all": True, "limit": 5},
    ],
)
def test_choice_that_is_not_as_described_is_refused(asked: dict[str, Any]) -> None:
    answer = Program(*JOBS, *LETTERS).post("bulk", asked)

    assert answer.status_code == 422, answer.content
    assert not BulkOperation.objects.exists()


def test_letters_are_replayed_in_bulk_and_nothing_of_their_jobs_is_told() -> None:
    of_jobs = [
        dead_letter(job(status=Status.QUARANTINED, run_epoch=16, customer_id="SECRET-1")),
        dead_letter(),
    ]
    blind = Program(*LETTERS)
    shown = blind.post("bulk", {"action": "replay", "all": True})
    operation = shown.json()["operation"]
    assert (operation["total"], operation["will"]) == (2, 2)
    assert blind.get(f"bulk/{operation['number']}").status_code == 200
    begun = confirm(blind, operation)
    assert begun.status_code == 200
    work(operation)
    after = blind.get(f"bulk/{operation['number']}")
    assert {each["id"] for each in after.json()["members"]} == set(names(of_jobs))
    assert JOB_UNSEEN in {each["sentence"] for each in after.json()["members"]}
    assert {each["result"] for each in after.json()["members"]} == {None}
    for answer in (shown, after):
        for told in ("SECRET-1", "quarantine", "run 1", "requeued"):
            assert told not in answer.content.decode(), told
    # A key for jobs sees how far it is, and nothing of the letters.
    of_others = Program(*JOBS, name="jobs").get(f"bulk/{operation['number']}").json()
    assert (of_others["operation"]["done"], of_others["members"], of_others["operation"]["scope"]) == (
        2,
        [],
        "",
    )


def test_each_kind_needs_its_own_permission() -> None:
    job(status="failed")
    letters = Program(*LETTERS, name="letters")
    refused = letters.post("bulk", {"action": "requeue", "all": True})
    assert (refused.status_code, refused.json()["permission"]) == (403, "jobs.requeue_job")

    maker = people.allowed("requeue_job")
    program = Program(*JOBS, maker=maker)
    operation = preview(program, action="requeue", all=True)["operation"]
    assert program.post("bulk", {"action": "cancel", "all": True}).json()["permission"] == "jobs.cancel_job"
    maker.user_permissions.remove(Permission.objects.get(codename="requeue_job"))
    for path in ("confirm", "cancel", "resume"):
        more: dict[str, Any] = {"will": 1} if path == "confirm" else {}
        lost = program.change(f"bulk/{operation['number']}/{path}", operation["version"], **more)
        assert (lost.status_code, lost.json()["permission"]) == (403, "jobs.requeue_job"), path
    assert BulkOperation.objects.get().state == "preview" and audited() == []


def test_preview_reads_the_same_number_of_statements_for_more_jobs() -> None:
    program = Program(*JOBS)
    counts = []
    for number in (2, 40):
        for _ in range(number):
            job(status="failed")
        counts.append(statements(lambda: program.post("bulk", {"action": "requeue", "all": True})))
    assert counts[0] == counts[1] <= 40, counts


@pytest.mark.django_db(transaction=True)
def test_of_two_that_confirm_at_once_one_learns_that_it_has_begun() -> None:
    job(status="failed")
    program = Program(*JOBS)
    operation = preview(program, action="requeue", all=True)["operation"]

    answers = race([lambda: confirm(program, operation)] * 2)

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert len(audited()) == 1


def test_list_has_what_was_confirmed_newest_first() -> None:
    program = Program(*JOBS)
    made = []
    for action, status in (("requeue", "failed"), ("cancel", "pending"), ("requeue", "failed")):
        job(status=status)
        operation = preview(program, action=action, all=True)["operation"]
        made.append(confirm(program, operation).json())
    preview(program, action="cancel", all=True)
    BulkOperation.objects.filter(pk=made[0]["number"]).update(state="ended")

    first = program.get("bulk/all", limit=2).json()
    rest = program.get("bulk/all", limit=2, after=first["next"]).json()
    listed = [each["number"] for each in first["operations"] + rest["operations"]]
    assert (listed, rest["next"]) == ([each["number"] for each in reversed(made)], None)
    assert first["operations"][0]["version"] == made[2]["version"]
    ended = program.get("bulk/all", state="ended", action="requeue").json()["operations"]
    assert [each["number"] for each in ended] == [made[0]["number"]]
    for query in ({"state": "preview"}, {"action": "drop"}, {"actor": "olga"}, {"after": "7"}):
        assert program.get("bulk/all", **query).status_code == 422, query
    # Whoever sees letters but no jobs is not told what was chosen of jobs.
    other = Program("letters:read", name="letters")
    assert {each["scope"] for each in other.get("bulk/all").json()["operations"]} == {""}
