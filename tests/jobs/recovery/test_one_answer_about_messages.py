"""One table of cases for the fate of a waiting job's message, checked against every implementation (I12)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from jobs.intake import queue_position
from jobs.models import Job, MessageTrouble, Outbox, QueueState, RecoveryControl, Status
from jobs.recovery import control, lost_messages, waiting
from jobs.runs.timeline import Actor
from jobs.watch import message_gauges
from opsconsole import overview
from opsconsole_worker.environment import QueueConfig
from tests.factories import SECOND, job, letter
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db

State = Outbox.State
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LIST = reverse("admin:jobs_job_changelist")

SENT: dict[str, Any] = {"state": State.SENT, "attempts": 1}
OLD = {"updated_at": -2 * HOUR, "created_at": -2 * HOUR}
STUCK = {"created_at": -HOUR, "available_at": -6 * MINUTE}
BACKING_OFF = {"created_at": -HOUR, "available_at": MINUTE, "attempts": 9, "last_error": "AccessDenied"}

# By name: the fields of the job, those of its outbox row, and the expected trouble. Times are relative to now.
# The queue "empty" was seen empty a moment ago.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any] | None, MessageTrouble | None]] = {
    "just enqueued": ({}, {}, None),
    "a first try under way": ({}, {"attempts": 1}, None),
    "a failed first try": ({}, {"attempts": 1, "last_error": "no answer"}, MessageTrouble.UNSENT),
    "backing off": (OLD, BACKING_OFF, MessageTrouble.UNSENT),
    "due, and nobody tries": (OLD, STUCK, MessageTrouble.UNSENT),
    "due for four minutes": (OLD, {"created_at": -HOUR, "available_at": -4 * MINUTE}, None),
    "held until it may start": (OLD | {"not_before": HOUR}, {"created_at": -2 * HOUR, "available_at": HOUR}, None),
    "re-armed a moment ago": (OLD | {"queue": "empty"}, {"sent_at": -2 * HOUR, "resends": 1}, None),
    "refused": ({}, {"state": State.REFUSED}, MessageTrouble.REFUSED),
    "refused long ago": (OLD | {"queue": "empty"}, {"state": State.REFUSED}, MessageTrouble.REFUSED),
    "sent a moment ago": (OLD | {"queue": "empty"}, SENT | {"sent_at": -SECOND}, None),
    "sent long ago": (OLD, SENT | {"sent_at": -2 * HOUR}, MessageTrouble.UNPROVEN),
    "sent long ago, its queue is empty": (
        OLD | {"queue": "empty"},
        SENT | {"sent_at": -2 * HOUR},
        MessageTrouble.LOST,
    ),
    # The message is lost even if the next re-send is not due yet.
    "re-sent, and lost again": (
        OLD | {"queue": "empty"},
        SENT | {"sent_at": -40 * MINUTE, "resends": 1},
        MessageTrouble.LOST,
    ),
    "dropped, its queue is empty": (OLD | {"queue": "empty"}, {"state": State.DROPPED}, MessageTrouble.LOST),
    "re-sent in vain": (
        OLD | {"queue": "empty"},
        SENT | {"sent_at": -HOUR, "resends": 3},
        MessageTrouble.USED_UP,
    ),
    "re-sent, the last one a moment ago": (OLD, SENT | {"sent_at": -SECOND, "resends": 3}, None),
    "its producer sent it": (OLD, None, MessageTrouble.UNPROVEN),
    "its producer sent it a moment ago": ({}, None, None),
    "its producer sent it, its queue is empty": (OLD | {"queue": "empty"}, None, MessageTrouble.LOST),
    "its producer sent it, it started to wait just now": (OLD | {"not_before": -SECOND}, None, None),
    "its queue is not configured": (OLD | {"queue": "gone"}, None, MessageTrouble.UNPROVEN),
    "completed": (OLD | {"status": Status.COMPLETED}, {"state": State.REFUSED}, None),
    "running": (OLD | {"status": Status.IN_PROGRESS}, STUCK, None),
    "of an earlier run": ({"run_epoch": 2}, {"run_epoch": 1, "state": State.REFUSED}, None),
    "to the dead letter queue": ({}, {"destination": "dlq", "state": State.REFUSED}, None),
}  # fmt: skip

Made = dict[UUID, str]
EXPECTED = {name: trouble for name, (_, _, trouble) in CASES.items()}


@pytest.fixture(autouse=True)
def armed(settings: Any) -> None:
    settings.QUEUES = {
        name: QueueConfig(name, f"https://sqs.fake/{name}", None) for name in ("default", "empty")
    }
    settings.OPSCONSOLE_LOST_RESEND = "off"
    overview.memory.clear()
    RecoveryControl.objects.get_or_create(pk=1)
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)


@pytest.fixture
def made() -> Made:
    """Create a job per case; return the names of the cases by job ID."""
    QueueState.objects.create(name="empty", visible=0, in_flight=0, delayed=0, read_at=Now())
    QueueState.objects.create(name="default", visible=7, in_flight=0, delayed=0, read_at=Now())
    names = {}
    for name, (of_job, of_message, _) in CASES.items():
        one = job(**{"customer_id": name} | from_now(of_job))
        if of_message is not None:
            letter(one, **from_now(of_message))
        names[one.pk] = name
    return names


def from_now(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: Now() + value if isinstance(value, timedelta) else value for name, value in fields.items()}


def expected(made: Made, trouble: MessageTrouble) -> set[str]:
    return {name for name in made.values() if EXPECTED[name] == trouble}


def rows(client: Client, **query: str) -> list[Any]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def test_page_agrees(made: Made, operator: Client) -> None:
    said = {name: waiting.look(pk) for pk, name in made.items()}
    assert {name: found and found.trouble for name, found in said.items()} == EXPECTED
    for pk, name in made.items():
        page = operator.get(reverse("admin:jobs_job_change", args=[pk])).content.decode()
        heading = page.partition("<h1>")[2].partition("</h1>")[0]
        assert badges(heading) == badges_of(EXPECTED[name]), name


def test_list_agrees(made: Made, operator: Client) -> None:
    assert {made[row.pk]: row.message_trouble for row in rows(operator)} == EXPECTED
    table = operator.get(LIST).content.decode().partition("<tbody>")[2]
    lines = {name: line for line in table.split("</tr>") for name in CASES if f">{name}</a></td>" in line}
    assert {name: badges(line) for name, line in lines.items()} == {
        name: badges_of(trouble) for name, trouble in EXPECTED.items()
    }


def badges(html: str) -> set[str]:
    return {trouble.label for trouble in MessageTrouble if f">{trouble.label.capitalize()}<" in html}


def badges_of(trouble: MessageTrouble | None) -> set[str]:
    return {trouble.label} if trouble else set()


@pytest.mark.parametrize("trouble", list(MessageTrouble))
def test_filter_agrees(made: Made, operator: Client, trouble: MessageTrouble) -> None:
    assert {made[row.pk] for row in rows(operator, message=trouble.value)} == expected(made, trouble)
    assert {made[each.pk] for each in waiting.having(trouble)} == expected(made, trouble)


@pytest.mark.usefixtures("made")
def test_choice_that_does_not_exist_shows_nothing(operator: Client) -> None:
    assert rows(operator, message="nonsense") == []


def test_overview_agrees(made: Made) -> None:
    seen = overview.read()
    assert seen.lost == len(expected(made, MessageTrouble.LOST))
    assert seen.in_vain == len(expected(made, MessageTrouble.USED_UP))


def test_overview_and_alert_count_the_same_messages(made: Made) -> None:
    for minutes in range(8):
        letter(job(), due=minutes * MINUTE)
    assert overview.read().overdue == message_gauges.outbox_stuck().value == Outbox.objects.stuck().count()


def test_only_lost_messages_are_sent_again(made: Made) -> None:
    again = {made[lost.job_id] for lost in lost_messages.find(100)}
    assert again == expected(made, MessageTrouble.LOST) - {"re-sent, and lost again"}


def test_job_whose_message_needs_operator_has_no_queue_position(made: Made) -> None:
    for name in made.values():
        [place] = queue_position.of_customer(name)
        trouble = EXPECTED[name]
        in_line = place.status == "pending" and place.not_before is None
        waits = in_line and not (trouble and trouble.pressing)
        assert (place.position is not None) is waits, name


def test_list_reads_evidence_once_and_only_when_needed(operator: Client) -> None:
    job()
    few = len(fewest_statements(operator, LIST))
    for queue in ("default", "empty"):
        for _ in range(10):
            job(queue=queue, updated_at=Now() - HOUR)
    assert len(fewest_statements(operator, LIST)) == few + 1


def test_claim_by_worker_ends_the_problem(made: Made) -> None:
    Job.objects.update(status=Status.IN_PROGRESS)
    assert not any(waiting.having(trouble).exists() for trouble in MessageTrouble)
