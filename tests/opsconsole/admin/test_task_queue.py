"""Tests of django-q2's pages: only the console's own schedules can be changed, with a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from django_q.tasks import async_task

from opsconsole.cluster import schedules
from opsconsole.cluster.task_table import PREFIX
from opsconsole.kit import audit
from tests import people
from tests.page_text import spaced
from tests.sending import versions_on

pytestmark = pytest.mark.django_db

LIST = reverse("admin:django_q_schedule_changelist")
REASON = "the vendor is down"


@pytest.fixture
def sweep() -> Schedule:
    schedules.sync()
    return schedules.ours().get(name=f"{PREFIX}sweep")


def act(client: Client, action: str, *rows: Schedule, reason: str | None = REASON) -> Any:
    posted: dict[str, Any] = {"action": action, "_selected_action": [row.pk for row in rows]}
    question = client.post(LIST, posted, follow=True)
    if reason is None:
        return question
    return client.post(LIST, posted | versions_on(question) | {"reason": reason}, follow=True)


def failure() -> Task:
    now = timezone.now()
    return Task.objects.create(
        id="f" * 32,
        name="broken",
        func="os.system",
        args=("true",),
        started=now,
        stopped=now,
        success=False,
        result="boom <b>bang</b>",
    )


def test_list_describes_each_schedule(operator: Client, sweep: Schedule) -> None:
    Schedule.objects.create(name="theirs", func="math.sqrt", schedule_type=Schedule.DAILY)

    page = spaced(operator.get(LIST).content.decode())

    assert "recover runs whose worker died" in page
    assert "2 min" in page
    assert "Refused: not in the task table" in page
    assert "math.sqrt" in page


def test_pause_and_resume(operator: Client, sweep: Schedule) -> None:
    act(operator, "pause", sweep)
    sweep.refresh_from_db()
    assert sweep.repeats == schedules.PAUSED
    assert "Paused" in operator.get(LIST).content.decode()

    act(operator, "resume", sweep)
    sweep.refresh_from_db()
    assert sweep.repeats == schedules.FOR_EVER
    assert [audit.parts_of(entry) for entry in LogEntry.objects.order_by("pk")] == [
        audit.AuditParts("Pause.", REASON),
        audit.AuditParts("Resume.", REASON),
    ]


def test_run_now_makes_schedule_due(operator: Client, sweep: Schedule) -> None:
    Schedule.objects.filter(pk=sweep.pk).update(next_run=timezone.now() + timedelta(hours=1))

    act(operator, "run_now", sweep)

    assert Schedule.objects.filter(pk=sweep.pk, next_run__lte=timezone.now()).exists()
    assert "Run now: sweep" in act(operator, "run_now", sweep).content.decode()


@pytest.mark.parametrize("action", ["pause", "run_now"])
def test_actions_require_reason(operator: Client, sweep: Schedule, action: str) -> None:
    asked = act(operator, action, sweep, reason=None)
    refused = act(operator, action, sweep, reason=" ")

    assert "Reason" in asked.content.decode()
    assert "Give a reason" not in asked.content.decode()
    assert "Give a reason: it is kept with the change." in refused.content.decode()
    before = sweep.next_run
    sweep.refresh_from_db()
    assert (sweep.repeats, sweep.next_run) == (schedules.FOR_EVER, before)


def test_foreign_schedules_are_left_alone(operator: Client) -> None:
    theirs = Schedule.objects.create(name="theirs", func="math.sqrt", schedule_type=Schedule.DAILY)
    pretender = Schedule.objects.create(name=f"{PREFIX}not in the table", func="os.system")

    response = act(operator, "pause", theirs, pretender)

    assert "None of these schedules can be changed in this way." in response.content.decode()
    assert not Schedule.objects.filter(repeats=schedules.PAUSED).exists()


def test_paused_schedule_does_not_run(operator: Client, sweep: Schedule) -> None:
    Schedule.objects.filter(pk=sweep.pk).update(repeats=schedules.PAUSED)

    assert (
        "None of these schedules can be changed in this way."
        in act(operator, "run_now", sweep).content.decode()
    )


@pytest.mark.parametrize("action", ["pause", "resume", "run_now", "delete_selected", "resubmit_task"])
def test_viewer_changes_no_schedule(client: Client, sweep: Schedule, action: str) -> None:
    before = Schedule.objects.filter(pk=sweep.pk).values().get()
    client.force_login(people.viewer())

    act(client, action, sweep)

    assert Schedule.objects.filter(pk=sweep.pk).values().get() == before


@pytest.mark.parametrize(
    ("permission", "opened"),
    [
        ("pause_schedule", {"pause", "resume"}),
        ("run_schedule", {"run_now"}),
        ("change_schedule", set()),
    ],
)
def test_each_permission_opens_its_own_actions(
    client: Client, sweep: Schedule, permission: str, opened: set[str]
) -> None:
    """Keep pausing a schedule, running it, and editing it as separate permissions."""
    client.force_login(people.allowed(permission))
    form = client.get(LIST).context["action_form"]
    offered = {value for value, _ in form.fields["action"].choices if value} if form else set()
    done = set()
    for action, before in (
        ("pause", schedules.FOR_EVER),
        ("resume", schedules.PAUSED),
        ("run_now", schedules.FOR_EVER),
    ):
        Schedule.objects.filter(pk=sweep.pk).update(
            repeats=before, next_run=timezone.now() + timedelta(hours=1)
        )
        was = Schedule.objects.filter(pk=sweep.pk).values().get()
        act(client, action, sweep)
        if Schedule.objects.filter(pk=sweep.pk).values().get() != was:
            done.add(action)

    assert offered == done == opened


def test_function_of_schedule_is_read_only(operator: Client, sweep: Schedule) -> None:
    url = reverse("admin:django_q_schedule_change", args=[sweep.pk])

    assert '<input type="text"' not in operator.get(url).content.decode()
    assert operator.post(url, {"func": "os.system", "name": sweep.name}).status_code == 403
    assert operator.post(reverse("admin:django_q_schedule_add"), {"func": "os.system"}).status_code == 403
    assert (
        operator.post(reverse("admin:django_q_schedule_delete", args=[sweep.pk]), {"post": "yes"}).status_code
        == 403
    )
    sweep.refresh_from_db()
    assert sweep.func == "jobs.tasks.sweep"


@pytest.mark.parametrize("model", [Success, Failure, OrmQ, Schedule])
@pytest.mark.parametrize("action", ["resubmit_task", "delete_selected"])
def test_resubmit_and_delete_are_removed(operator: Client, model: Any, action: str) -> None:
    failed = failure()
    operator.post(
        reverse(f"admin:django_q_{model._meta.model_name}_changelist"),
        {"action": action, "_selected_action": [failed.pk], "index": "0", "post": "yes"},
    )
    assert Task.objects.filter(pk=failed.pk).exists()
    assert not OrmQ.objects.exists()


def test_failure_can_be_read(operator: Client) -> None:
    failed = failure()

    for url in (
        reverse("admin:django_q_failure_changelist"),
        reverse("admin:django_q_failure_change", args=[failed.pk]),
    ):
        page = operator.get(url).content.decode()
        assert "boom &lt;b&gt;bang" in page


def test_success_and_a_queued_task_can_be_read(operator: Client) -> None:
    now = timezone.now()
    done = Task.objects.create(
        id="a" * 32, name="fine", func="math.sqrt", started=now, stopped=now, success=True
    )
    async_task("jobs.tasks.sweep", task_name="later")
    waiting = OrmQ.objects.get()

    assert "fine" in operator.get(reverse("admin:django_q_success_changelist")).content.decode()
    page = operator.get(reverse("admin:django_q_success_change", args=[done.pk])).content.decode()
    shown = re.findall(r"<dt>(Arguments|Keyword arguments|Result)</dt><dd>none</dd>", page)
    assert sorted(shown) == ["Arguments", "Keyword arguments", "Result"]
    queued = operator.get(reverse("admin:django_q_ormq_changelist")).content.decode()
    assert "later" in queued and "jobs.<wbr>tasks.<wbr>sweep" in queued
    assert re.search(r'class="field-lock_age"><time [^>]+>\d', queued)
    assert operator.get(reverse("admin:django_q_ormq_change", args=[waiting.pk])).status_code == 200


def test_task_is_named_in_plain_words_with_times_in_utc(operator: Client) -> None:
    failed = Task.objects.create(
        id="c" * 32,
        name="sweeping",
        func="jobs.tasks.sweep",
        started=datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC),
        stopped=datetime(2026, 3, 1, 12, 31, 45, tzinfo=UTC),
        success=False,
    )
    async_task("jobs.tasks.sweep", task_name="later")
    waiting = OrmQ.objects.get()

    page = operator.get(reverse("admin:django_q_failure_change", args=[failed.pk])).content.decode()
    assert "2026-03-01 12:30:45 UTC (<time" in page
    assert "32-character" not in page
    assert "&rsaquo; Failed task sweeping</div>" in page
    for name in ("change", "history"):
        page = operator.get(reverse(f"admin:django_q_ormq_{name}", args=[waiting.pk])).content.decode()
        assert "OrmQ object" not in page
        assert f"Queued task {waiting.pk}" in page


def test_history_tells_times_in_utc(operator: Client, sweep: Schedule) -> None:
    act(operator, "pause", sweep)

    page = operator.get(reverse("admin:django_q_schedule_history", args=[sweep.pk])).content.decode()
    assert re.search(r"\d\d:\d\d:\d\d UTC \(<time", page)
    assert "History: Scheduled task sweep<" in page
