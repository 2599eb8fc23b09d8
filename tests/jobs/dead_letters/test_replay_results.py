"""Tests of the results of replays: what became of each letter's work, on every page, in one query."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobs import tasks
from jobs.admin import what_became
from jobs.bulk import decisions, freezing, letter_actions
from jobs.bulk.kinds import MemberResult
from jobs.bulk.registry import kind_of
from jobs.dead_letters import check, replay_results, scan
from jobs.dead_letters.replay_results import ReplayResult
from jobs.letter_ledger.entries import LetterAction
from jobs.messaging.dispatcher import dispatch
from jobs.models import BulkOperation, DeadLetter, Job, ReplayAttempt, Status
from opsconsole_worker import sqs
from opsconsole_worker.working.poison import with_reason
from tests.conftest import TestQueue
from tests.factories import dead_letter, failure_group, job
from tests.jobs.bulk.helpers import chunk
from tests.jobs.dead_letters.account import OLGA, Account, letters, replay
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db

State = DeadLetter.State
STEP = ReplayAttempt.State


def replayed(
    of: Job | None = None, state: str = STEP.DONE, epoch: int | None = None, **fields: Any
) -> DeadLetter:
    """Create a letter with a replay in this state; ``epoch``: the run for which its job was requeued."""
    made = dead_letter(of, **{"state": State.REPLAYED} | fields)
    ReplayAttempt.objects.create(
        letter=made,
        action=LetterAction.REPLAY,
        state=state,
        actor="operator:olga",
        reason="x",
        job_epoch=epoch,
    )
    return made


def result_of(of: DeadLetter) -> ReplayResult | None:
    followed = replay_results.of_letters([of.pk]).get(of.pk)
    return followed.result if followed else None


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (Status.COMPLETED, ReplayResult.COMPLETED),
        (Status.FAILED, ReplayResult.FAILED_AGAIN),
        (Status.QUARANTINED, ReplayResult.FAILED_AGAIN),
        (Status.PENDING, ReplayResult.RUNNING),
        (Status.IN_PROGRESS, ReplayResult.RUNNING),
        (Status.CANCELLED, ReplayResult.CANCELLED),
        ("theirs", ReplayResult.UNKNOWN),
    ],
)
def test_letter_is_followed_to_the_end_of_its_job(status: str, result: ReplayResult) -> None:
    assert result_of(replayed(job(status=status, run_epoch=3), epoch=2)) == result


@pytest.mark.parametrize(
    ("state", "result"),
    [
        (STEP.WANTED, ReplayResult.NOT_SENT_YET),
        (STEP.SENDING, ReplayResult.NOT_SENT_YET),
        (STEP.SENT, ReplayResult.UNKNOWN),
        (STEP.DONE, ReplayResult.UNKNOWN),
        (STEP.UNKNOWN, ReplayResult.UNKNOWN),
        (STEP.NOT_DONE, ReplayResult.NOT_SENT),
    ],
)
def test_letter_without_a_job(state: str, result: ReplayResult) -> None:
    assert result_of(replayed(state=state)) == result


def test_only_replays_have_results() -> None:
    assert result_of(dead_letter()) is None


def test_run_before_the_requeue_says_nothing() -> None:
    """After a restore from a backup the job is in an older run than the one for which it was requeued."""
    assert result_of(replayed(job(status=Status.FAILED, run_epoch=1), epoch=2)) == ReplayResult.UNKNOWN


def test_letter_that_came_back_names_the_newest_one() -> None:
    first = replayed()
    dead_letter(returned_from=first, returns=1)
    newest = dead_letter(returned_from=first, returns=1)

    followed = replay_results.of_letters([first.pk])[first.pk]

    assert (followed.result, followed.again) == (ReplayResult.FAILED_AGAIN, newest.pk)


def test_letter_that_came_back_and_whose_job_completed_after_all() -> None:
    first = replayed(job(status=Status.COMPLETED, run_epoch=4), epoch=2)
    dead_letter(returned_from=first, returns=1)

    assert result_of(first) == ReplayResult.COMPLETED


def test_failed_replay_is_followed_over_http(
    sqs_queue: TestQueue, monkeypatch: pytest.MonkeyPatch, operator: Client
) -> None:
    """The message of a replay dies again on the emulator; the scan sees it as another letter."""
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    sqs_queue.client.send_message(QueueUrl=sqs_queue.dlq_url, MessageBody="order 1")
    check.check()
    first = DeadLetter.objects.get()
    replay(first)
    tasks.work_dead_letters()
    for _ in range(4):
        sqs_queue.client.receive_message(QueueUrl=sqs_queue.url, VisibilityTimeout=0)
    check.check()
    again = DeadLetter.objects.exclude(pk=first.pk).get()

    page = operator.get(reverse("admin:jobs_deadletter_change", args=[first.pk])).content.decode()

    assert 'badge-bad">Replayed, failed again</span>' in page
    assert reverse("admin:jobs_deadletter_change", args=[again.pk]) in page


def test_replay_of_an_unreadable_message_is_followed_to_the_copy_that_comes_back(
    sqs_queue: TestQueue, monkeypatch: pytest.MonkeyPatch, operator: Client
) -> None:
    """A worker makes a dead letter of its own of what it can't read: a message with another id."""
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)
    sqs_queue.client.send_message(QueueUrl=sqs_queue.dlq_url, MessageBody="{nonsense")
    check.check()
    first = DeadLetter.objects.get()
    replay(first)
    tasks.work_dead_letters()
    [received] = sqs.receive(sqs_queue.url, wait_seconds=0)
    sqs.send_raw(sqs_queue.dlq_url, received.body, with_reason(received, "The body is not JSON."))
    sqs.delete(received)
    check.check()
    again = DeadLetter.objects.exclude(pk=first.pk).get()

    assert (again.returned_from, again.returns) == (first, 1)
    assert result_of(first) == ReplayResult.FAILED_AGAIN
    page = operator.get(reverse("admin:jobs_deadletter_change", args=[first.pk])).text
    assert 'badge-bad">Replayed, failed again</span>' in page
    assert reverse("admin:jobs_deadletter_change", args=[again.pk]) in page


def test_list_and_groups_show_results_without_a_query_per_row(operator: Client) -> None:
    def counted(url: str) -> int:
        return len(fewest_statements(operator, url))

    letter_list = reverse("admin:jobs_deadletter_changelist") + "?state=all"
    group_list = reverse("admin:jobs_failuregroup_changelist")
    first = replayed(job(status=Status.FAILED, run_epoch=2), epoch=2)
    before = counted(letter_list), counted(group_list)
    for _ in range(3):
        replayed(job(status=Status.COMPLETED, run_epoch=2), epoch=2)

    assert (counted(letter_list), counted(group_list)) == before
    listed = operator.get(letter_list).content.decode()
    assert listed.count("Replayed, completed") == 3
    assert listed.count("Replayed, failed again") == 1
    groups = operator.get(group_list).content.decode()
    assert "3 completed" in groups
    assert 'badge-bad">1 failed again' in groups
    page = operator.get(reverse("admin:jobs_failuregroup_change", args=[first.group_id])).content.decode()
    assert "3 completed" in page


def test_operation_shows_what_became_of_its_letters(
    account: Account, operator: Client, settings: Any
) -> None:
    settings.OPSCONSOLE_BULK_TRIAL_SIZE = 3
    jobs = [job(status=Status.FAILED) for _ in range(6)]
    ids = [account.die_with(each) for each in jobs]
    account.check()
    operation = freezing.freeze(
        kind_of("replay"),
        DeadLetter.objects.filter(pk__in=[each.pk for each in letters(ids)]),
        OLGA,
        scope="all",
    )
    decisions.begin(operation, OLGA, "the directory is back", typed="6")
    _work(operation)
    dispatch()
    account.work()
    sent = list(operation.members.filter(outcome="done").values_list("subject", flat=True))
    failing = DeadLetter.objects.filter(pk__in=sent[:2]).values_list("job_id", flat=True)
    Job.objects.filter(pk__in=list(failing)).update(status=Status.FAILED)
    _work(operation)

    operation.refresh_from_db()
    assert operation.state == BulkOperation.State.STOPPED
    named = ", ".join(subject[:8] for subject in sent[:2])
    assert f"2 of the first 3 failed again: {named}." in operation.sentence
    page = operator.get(reverse("admin:jobs_bulkoperation_change", args=[operation.pk])).content.decode()
    assert "Did it help?" in page
    assert "<dt>Failed again</dt><dd>2</dd>" in page
    assert "<dt>Still waiting or running</dt><dd>1</dd>" in page
    assert 'badge-bad">Failed again</span>' in page


def test_result_of_an_action_says_whether_it_helped(account: Account, operator: Client) -> None:
    mine = job(status=Status.FAILED)
    letter = replayed(mine, epoch=1, job_id=mine.pk)
    asked = what_became.address(kind_of("replay"), [str(letter.pk)])
    assert "It did not help: it failed again." in operator.get(asked).content.decode()
    Job.objects.filter(pk=mine.pk).update(status=Status.IN_PROGRESS)
    assert "Not known yet: 1 of 1 still waiting or running." in operator.get(asked).content.decode()
    Job.objects.filter(pk=mine.pk).update(status=Status.COMPLETED)
    told = operator.get(asked)
    assert "It helped: the job has completed." in told.content.decode()
    assert told.headers["Cache-Control"] == "no-store"
    # A poll is never redirected, and nobody is told more than the page of the job would tell them.
    client = Client()
    assert client.get(asked).status_code == 401
    client.force_login(User.objects.create_user("dora", is_staff=True))
    assert client.get(asked).status_code == 403


def test_result_leads_to_the_rest_of_the_group(operator: Client, client: Client) -> None:
    mine = job(status=Status.COMPLETED, run_epoch=2)
    letter = replayed(mine, epoch=2)
    asked = what_became.address(kind_of("replay"), [str(letter.pk)])
    group_page = reverse("admin:jobs_failuregroup_change", args=[letter.group_id])
    dead_letter(group=failure_group("something else"))
    dead_letter(state=State.DISCARDED)
    assert "with the same failure" not in operator.get(asked).text

    dead_letter()
    dead_letter(state=State.KEPT)

    page = operator.get(asked).text
    assert f"2 more dead letters with the same failure to decide about: {letter.group.title}" in page
    assert group_page in page
    limited = User.objects.create_user("letters only", is_staff=True)
    limited.user_permissions.add(
        *Permission.objects.filter(codename__in=["view_deadletter", "replay_deadletter", "view_job"])
    )
    client.force_login(limited)
    page = client.get(asked).text
    assert group_page not in page
    assert f"?group={letter.group_id}" in page


@pytest.mark.parametrize(
    ("tones", "sentence"),
    [
        ([], ""),
        (["good"], "It helped: the job has completed."),
        (["good", "good"], "It helped: all 2 have completed."),
        (["bad", "bad"], "It did not help: all 2 failed again."),
        (["good", "bad"], "It helped for 1 of 2: 1 failed again or could not be sent."),
        (["good", "quiet"], "It helped for 1 of 2: 1 result 1."),
        (
            ["running", "waiting", "bad"],
            "Not known yet: 2 of 3 still waiting or running. So far: 1 failed again.",
        ),
    ],
)
def test_sentence_about_results(tones: list[str], sentence: str) -> None:
    totals = [(MemberResult(f"Result {number}", tone), 1) for number, tone in enumerate(tones)]
    assert what_became.sentence(totals) == sentence


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ({ReplayResult.UNKNOWN: 1}, "Not known: nothing tells what became of it."),
        ({ReplayResult.UNKNOWN: 3}, "Not known: nothing tells what became of these 3."),
        ({ReplayResult.CANCELLED: 1}, "It helped for 0 of 1: 1 cancelled."),
        (
            {ReplayResult.COMPLETED: 1, ReplayResult.CANCELLED: 2, ReplayResult.UNKNOWN: 1},
            "It helped for 1 of 4: 2 cancelled, 1 result unknown.",
        ),
    ],
)
def test_cancelled_is_not_told_as_unknown(counts: dict[ReplayResult, int], sentence: str) -> None:
    totals = [(letter_actions.result(each), count) for each, count in counts.items()]
    assert what_became.sentence(totals) == sentence


def test_letter_without_job_is_told_with_its_queue_and_no_customer() -> None:
    made = dead_letter(queue="default")
    assert letter_actions.KINDS[0].describe([str(made.pk)]) == {str(made.pk): "none (queue default)"}


def _work(operation: BulkOperation) -> None:
    for _ in range(3):
        chunk(operation)
