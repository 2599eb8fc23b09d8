"""Tests of letters that are sent to a queue chosen by hand, because they do not say to which queue they belong."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from jobs import tasks
from jobs.admin.bulk.member_lines import JOB_UNSEEN
from jobs.dead_letters import scan, undelivered
from jobs.models import DeadLetter, ReplayAttempt, Status
from tests import people
from tests.conftest import TestQueue
from tests.factories import dead_letter, job
from tests.jobs.dead_letters.test_undelivered import FUNCTION, TOPIC, bury, notification, of_eventbridge
from tests.sending import send, versions_on

pytestmark = pytest.mark.django_db

REASON = "the subscriber was our queue"
State = DeadLetter.State


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "WAIT_SECONDS", 0)


def choose(letter: DeadLetter) -> str:
    return reverse("admin:jobs_deadletter_queue", args=[letter.pk])


def confirmed(queue: str = "default") -> dict[str, str]:
    return {"queue": queue, "previewed": queue, "reason": REASON, "step": "send"}


@pytest.mark.parametrize(
    ("document", "attributes"),
    [
        (notification("hello"), {"ErrorCode": "403"}),
        ({"order": 1}, {"RequestID": "1", "ErrorCode": "200", "ErrorMessage": "boom"}),
        ({"order": 1}, of_eventbridge(FUNCTION)),
    ],
    ids=["SNS", "Lambda", "a function of EventBridge"],
)
def test_letter_is_previewed_and_sent_to_the_chosen_queue(
    sqs_queue: TestQueue, operator: Client, document: Any, attributes: dict[str, str]
) -> None:
    made = bury(sqs_queue, document, tenant="blue", **attributes)

    preview = send(operator, choose(made), confirmed() | {"step": "preview"}).content.decode()
    unseen = send(operator, choose(made), confirmed() | {"previewed": "other"}).content.decode()
    assert not ReplayAttempt.objects.exists()
    send(operator, choose(made), confirmed())
    tasks.work_dead_letters()

    assert "Will be sent to the queue default, then deleted from the dead letter queue." in preview
    assert "Will be sent to the queue default" in unseen
    row = ReplayAttempt.objects.get()
    assert row.reason == f"To the queue default, chosen by hand: {REASON}"
    made.refresh_from_db()
    assert (made.state, made.queue) == (State.REPLAYED, "default")
    [sent] = sqs_queue.client.receive_message(QueueUrl=sqs_queue.url, MessageAttributeNames=["All"])[
        "Messages"
    ]
    assert (sent["Body"], list(sent["MessageAttributes"])) == (made.body, ["tenant"])


def test_choice_is_offered_only_where_the_queue_is_unknown_and_no_job_is_named(
    sqs_queue: TestQueue, operator: Client
) -> None:
    known = job(status=Status.FAILED)
    letters = {
        "SNS": (dead_letter(addressee=TOPIC, queue=""), ""),
        "an old queue": (dead_letter(queue="removed"), ""),
        # A choice that was not carried out may be wrong.
        "chosen before": (dead_letter(addressee=undelivered.LAMBDA, queue="default"), ""),
        "from a queue": (dead_letter(), "It is known that it belongs to the queue default: replay it."),
        "of a job": (
            dead_letter(addressee=undelivered.LAMBDA, queue="", job_id=known.pk),
            "It names a job of the console: requeue the job instead.",
        ),
        "discarded": (
            dead_letter(addressee=TOPIC, queue="", state=State.DISCARDED),
            "It was discarded: restore it first.",
        ),
    }
    for name, (letter, why) in letters.items():
        page = operator.get(reverse("admin:jobs_deadletter_change", args=[letter.pk])).content.decode()
        assert (choose(letter) in page) == (not why), name
        answer = operator.post(choose(letter), confirmed()).content.decode()
        assert ("cannot be chosen" in answer) == bool(why) and why in answer, name
    # Without the version of the form nothing is sent either.
    assert not ReplayAttempt.objects.exists()


def test_why_the_queue_cannot_be_chosen_tells_nothing_of_an_unseen_job(
    sqs_queue: TestQueue, client: Client
) -> None:
    letter = dead_letter(addressee=undelivered.LAMBDA, queue="", job_id=job(status=Status.FAILED).pk)
    user = people.allowed("replay_deadletter")
    user.user_permissions.remove(Permission.objects.get(codename="view_job"))
    client.force_login(user)
    page = client.get(choose(letter)).content.decode()
    assert "cannot be chosen" in page and JOB_UNSEEN in page and "names a job" not in page


def test_letter_with_later_decision_is_not_sent(sqs_queue: TestQueue, operator: Client) -> None:
    letter = dead_letter(addressee=TOPIC, queue="")
    version = versions_on(operator.get(choose(letter)))
    DeadLetter.objects.update(state=State.KEPT)

    response = operator.post(choose(letter), version | confirmed())

    assert response.status_code == 409
    assert "Nothing was saved" in response.content.decode()
    assert not ReplayAttempt.objects.exists()


def test_choosing_needs_the_permission_to_replay(client: Client) -> None:
    letter = dead_letter(addressee=TOPIC, queue="")
    client.force_login(people.allowed("discard_deadletter"))
    assert client.get(choose(letter)).status_code == 403
    assert client.post(choose(letter), confirmed()).status_code == 403
