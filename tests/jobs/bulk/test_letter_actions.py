"""Tests of bulk operations on dead letters: replay in order of sending, discard, restore, stop on returns."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ
from psycopg.errors import QueryCanceled

from jobs.admin.dead_letters import undecided_letters
from jobs.bulk import decisions, freezing
from jobs.bulk.registry import kind_of
from jobs.models import BulkOperation, DeadLetter, FailureGroup, Job, ReplayAttempt, Status
from opsconsole_worker.environment import QueueConfig
from tests import people
from tests.factories import SECOND, dead_letter, failure_group, job
from tests.jobs.bulk.helpers import ADA, REASON, chunk, finish, fresh
from tests.sending import send

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobs_deadletter_changelist")


@pytest.fixture(autouse=True)
def _small(settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", "http://127.0.0.1:9/dlq")}
    settings.OPSCONSOLE_BULK_PACE = 4
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 0
    settings.OPSCONSOLE_BULK_AT_ONCE = 2


def letters(count: int, **fields: Any) -> list[DeadLetter]:
    """Create dead letters, oldest first."""
    return [dead_letter(age=(count - number) * SECOND, **fields) for number in range(count)]


def begun(action: str, **chosen: Any) -> BulkOperation:
    found = DeadLetter.objects.filter(**chosen)
    operation = freezing.freeze(kind_of(action), found, ADA, scope="some")
    decisions.begin(operation, ADA, REASON, typed=str(operation.will))
    return fresh(operation)


def test_letters_are_replayed_in_the_order_in_which_they_were_sent() -> None:
    made = letters(10)
    operation = finish(begun("replay"))
    assert (operation.state, operation.done) == ("ended", 10)
    requests = ReplayAttempt.objects.order_by("id").values_list("letter_id", "state", "actor", "reason")
    assert list(requests) == [(each.pk, "wanted", "operator:ada", REASON) for each in made]
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"replaying"}
    assert OrmQ.objects.count() >= 3, "the cluster is asked to send them"


def test_only_the_letters_of_a_group_are_touched() -> None:
    letters(3, group=failure_group("timeout"))
    others = letters(3, group=failure_group("refused"))
    finish(begun("discard", group=FailureGroup.objects.get(title="timeout")))
    kept = DeadLetter.objects.filter(state="in_queue")
    assert set(kept) == set(others)


def test_replaying_letters_requeues_their_jobs_and_skips_completed_ones() -> None:
    failed = [job(status=Status.FAILED) for _ in range(3)]
    completed = job(status=Status.COMPLETED)
    for each in [*failed, completed]:
        dead_letter(each)
    operation = finish(begun("replay"))
    assert (operation.done, operation.skipped) == (3, 1)
    assert Job.objects.filter(status="pending", run_epoch=2).count() == 3
    [skipped] = operation.members.filter(outcome="skipped")
    assert skipped.sentence == "Its job is completed: discard the letter."


def test_discarded_letters_are_restored() -> None:
    letters(5)
    finish(begun("discard"))
    operation = finish(begun("restore"))
    assert (operation.done, DeadLetter.objects.filter(state="in_queue").count()) == (5, 5)


def test_letters_arriving_during_a_group_replay_are_left_alone() -> None:
    letters(5)
    operation = begun("replay")
    chunk(operation)
    late = letters(3)
    finish(operation)
    assert set(DeadLetter.objects.filter(state="in_queue")) == set(late)


def test_letter_decided_by_other_operator_is_skipped() -> None:
    made = letters(3)
    operation = begun("replay")
    DeadLetter.objects.filter(pk=made[1].pk).update(state="discarded")
    operation = finish(operation)
    assert (operation.done, operation.skipped) == (2, 1)
    assert "It has changed in the meantime" in operation.members.get(outcome="skipped").sentence


def test_replay_stops_when_trial_letters_return(settings: Any) -> None:
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 2
    for _ in range(6):
        dead_letter(job(status=Status.FAILED), sent_at=Now())
    operation = begun("replay")
    chunk(operation)
    Job.objects.filter(status="pending").update(status=Status.FAILED)
    chunk(operation)
    operation = fresh(operation)
    assert (operation.state, operation.done, operation.remaining) == ("stopped", 2, 4)
    assert "2 of the first 2 failed again" in operation.sentence


@pytest.mark.parametrize("action", ["replay", "discard", "restore"])
def test_list_previews_all_letters_that_match_its_filter(client: Client, action: str) -> None:
    client.force_login(people.operator())
    state = "discarded" if action == "restore" else "in_queue"
    made = letters(3, group=failure_group("timeout"), state=state)
    letters(2, group=failure_group("refused"), state=state)
    chosen = {"action": f"{action}_selected", "index": "0", "select_across": "1"}
    response = client.post(
        f"{LIST}?group={made[0].group_id}&state={state}", chosen | {"_selected_action": [str(made[0].pk)]}
    )
    operation = BulkOperation.objects.get()
    assert set(operation.members.values_list("subject", flat=True)) == {str(each.pk) for each in made}
    text = client.get(response.headers["Location"]).content.decode()
    assert "3 dead letters?" in text and "Type 3 to confirm" in text


def test_small_selection_is_previewed_row_by_row(client: Client) -> None:
    client.force_login(people.operator())
    made = letters(2)
    chosen = {"action": "replay_selected", "index": "0", "_selected_action": [str(each.pk) for each in made]}
    response = client.post(LIST, chosen)
    assert [line.letter.pk for line in response.context["will"]] == [each.pk for each in made]
    assert not BulkOperation.objects.exists()


@pytest.mark.parametrize("action", ["replay", "discard", "restore"])
def test_viewer_cannot_begin_operation(client: Client, action: str) -> None:
    client.force_login(people.viewer())
    made = letters(3)
    chosen = {"action": f"{action}_selected", "index": "0", "select_across": "1"}
    client.post(LIST, chosen | {"_selected_action": [str(made[0].pk)]})
    assert not BulkOperation.objects.exists()


# --- all letters of a failure group, from the group's page ---


def page_of(group: FailureGroup) -> str:
    return reverse("admin:jobs_failuregroup_change", args=[group.pk])


def of_group(group: FailureGroup, action: str) -> str:
    return reverse("admin:jobs_failuregroup_bulk", args=[group.pk, action])


def offered(client: Client, group: FailureGroup) -> set[str]:
    page = client.get(page_of(group)).content.decode()
    return {action for action in ("replay", "discard") if of_group(group, action) in page}


@pytest.mark.parametrize(("action", "after"), [("replay", "replaying"), ("discard", "discarded")])
def test_group_is_previewed_and_replayed_as_a_whole(client: Client, action: str, after: str) -> None:
    client.force_login(people.operator())
    group = failure_group("timeout")
    undecided = [*letters(2, group=group), *letters(1, group=group, state="kept")]
    others = [
        *letters(1, group=group, state="replayed"),
        *letters(2, group=failure_group("refused")),
    ]
    before = dict(DeadLetter.objects.values_list("pk", "state"))
    assert offered(client, group) == {"replay", "discard"}

    address = client.post(of_group(group, action)).headers["Location"]

    preview = client.get(address).content.decode()
    operation = BulkOperation.objects.get()
    assert set(operation.members.values_list("subject", flat=True)) == {str(each.pk) for each in undecided}
    for said in ("3 dead letters?", f"undecided letters of failure group {group.pk}", "Type 3 to confirm"):
        assert said in preview, said
    assert f"{LIST}?group={group.pk}" in preview
    assert dict(DeadLetter.objects.values_list("pk", "state")) == before

    begin = reverse("admin:jobs_bulkoperation_decide", args=[operation.pk, "begin"])
    send(client, begin, {"reason": REASON, "typed": "2"}, page=address)
    assert fresh(operation).state == "preview"
    send(client, begin, {"reason": REASON, "typed": "3"}, page=address)
    assert finish(operation).done == 3
    now = dict(DeadLetter.objects.values_list("pk", "state"))
    assert {now[each.pk] for each in undecided} == {after}
    assert all(now[each.pk] == before[each.pk] for each in others)
    assert set(ReplayAttempt.objects.values_list("actor", "reason")) == {("operator:olga", REASON)}


def test_page_of_a_group_says_exactly_which_letters_its_buttons_take(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = failure_group()
    for state, count in (
        ("in_queue", 2),
        ("kept", 1),
        ("replaying", 3),
        ("outcome_unknown", 1),
        ("replayed", 4),
    ):
        letters(count, group=group, state=state)
    page = operator.get(page_of(group)).text
    assert "takes 3 dead letters: 2 in the queue and 1 kept in the console." in page
    assert "Left out: 3 being replayed and 1 outcome unknown." in page
    operator.post(of_group(group, "replay"))
    assert BulkOperation.objects.get().total == 3

    monkeypatch.setattr(undecided_letters, "MOST_COUNTED", 6)
    assert undecided_letters.MORE in operator.get(page_of(group)).text


def test_group_whose_letters_are_all_being_replayed_offers_nothing(operator: Client) -> None:
    group = failure_group()
    letters(2, group=group, state="replaying")
    assert offered(operator, group) == set()
    assert "No dead letter is to be decided now: 2 being replayed." in operator.get(page_of(group)).text


def test_viewer_sees_no_button_for_a_group_and_is_refused(client: Client) -> None:
    client.force_login(people.viewer())
    group = failure_group()
    letters(3, group=group)
    assert offered(client, group) == set()
    for action in ("replay", "discard"):
        assert client.post(of_group(group, action)).status_code == 403
    assert not BulkOperation.objects.exists()


@pytest.mark.parametrize("granted", ["replay", "discard"])
def test_each_button_of_a_group_needs_its_own_permission(client: Client, granted: str) -> None:
    client.force_login(people.allowed(f"{granted}_deadletter"))
    group = failure_group()
    letters(3, group=group)
    assert offered(client, group) == {granted}
    for action in ("replay", "discard"):
        assert client.post(of_group(group, action)).status_code == (302 if action == granted else 403)
    assert BulkOperation.objects.get().action == granted


@pytest.mark.parametrize("hidden", ["bulkoperation", "deadletter", "failuregroup"])
def test_group_action_requires_view_permission(client: Client, hidden: str) -> None:
    user = people.allowed("replay_deadletter", "discard_deadletter")
    user.user_permissions.remove(*user.user_permissions.filter(codename=f"view_{hidden}"))
    client.force_login(user)
    group = failure_group()
    letters(3, group=group)
    assert offered(client, group) == set()
    assert client.post(of_group(group, "replay")).status_code == 403
    assert not BulkOperation.objects.exists()


def test_decided_group_offers_no_action(client: Client) -> None:
    client.force_login(people.operator())
    group = failure_group()
    letters(2, group=group, state="discarded")
    assert offered(client, group) == set()
    preview = client.post(of_group(group, "discard"), follow=True)
    assert "None of these dead letters can be discarded." in preview.content.decode()


def test_unsupported_group_action_is_not_found() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.operator())
    group = failure_group()
    letters(3, group=group)
    assert client.get(of_group(group, "replay")).status_code == 405
    assert client.post(of_group(group, "replay")).status_code == 403, "without its token"
    client = Client()
    client.force_login(people.operator("oskar"))
    assert client.post(of_group(group, "restore")).status_code == 404
    gone = FailureGroup(pk=group.pk + 1)
    assert client.post(of_group(gone, "replay")).status_code == 404
    assert not BulkOperation.objects.exists()


def test_slow_group_redirects_to_its_list(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(people.operator())
    group = failure_group()
    letters(3, group=group)

    def slow(*_: Any, **__: Any) -> Any:
        raise OperationalError("canceling statement due to statement timeout") from QueryCanceled()

    monkeypatch.setattr(freezing, "freeze", slow)
    response = client.post(of_group(group, "replay"))
    assert response.headers["Location"] == f"{LIST}?group={group.pk}"
    assert "Narrow the filters" in client.get(response.headers["Location"]).content.decode()
