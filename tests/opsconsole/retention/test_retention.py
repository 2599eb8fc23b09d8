"""Tests of what retention shows and tells: the page Data, the command, the sizes of tables, and one line per run."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db.models import Func, TextField
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from alerts import tasks as alert_tasks
from alerts.models import Alert
from jobs import tasks as job_tasks
from jobs.models import IdempotencyKey, Sweep
from opsconsole.kit.retention_models import Removal, TableSize
from opsconsole.retention import sizes, subjects
from opsconsole.sign_in import roles
from tests import people

pytestmark = pytest.mark.django_db

DAY, MOMENT = timedelta(days=1), timedelta(seconds=30)


def old_sweep(ago: timedelta = 31 * DAY) -> Sweep:
    return Sweep.objects.create(trigger="schedule", mode=Sweep.Mode.ARMED, started_at=Now() - ago)


def shown(*arguments: str) -> Any:
    output = StringIO()
    call_command("retention", *arguments, "--json", stdout=output)
    return json.loads(output.getvalue())


def alert(resolved_ago: timedelta | None) -> Alert:
    made = Alert.objects.create(
        fingerprint=f"rule:{resolved_ago}", rule="outbox_stuck", title="x", severity="info"
    )
    if resolved_ago is not None:
        Alert.objects.filter(pk=made.pk).update(state=Alert.State.RESOLVED, resolved_at=Now() - resolved_ago)
    return made


def test_command_shows_what_is_due_and_removes_it_once() -> None:
    old_sweep(), old_sweep(29 * DAY)
    due = {each["subject"]: each["due"] for each in shown("--dry-run")["subjects"]}
    assert due["sweeps"] == 1 and set(due) == {each.name for each in subjects.SUBJECTS}
    assert Sweep.objects.count() == 2 and not Removal.objects.exists()

    assert shown()["removed"]["sweeps"] == 1

    assert Sweep.objects.count() == 1
    [removal] = Removal.objects.all()
    assert (removal.subject, removal.rows) == ("sweeps", 1) and removal.by.endswith("(command)")
    assert shown()["removed"]["sweeps"] == 0 and Removal.objects.count() == 1
    assert LogEntry.objects.filter(change_message__contains="Removed 1 row whose retention").count() == 1
    output = StringIO()
    call_command("retention", "--dry-run", stdout=output)
    assert "sweeps             30 days  due: 0, last removed 1 at " in output.getvalue()


def test_each_scheduled_run_that_removed_rows_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    job_tasks.prune()
    assert not Removal.objects.exists()
    old_sweep()
    IdempotencyKey.objects.create(caller="a", key="k", request="r")
    IdempotencyKey.objects.update(created_at=Now() - DAY - MOMENT)

    job_tasks.prune()

    assert dict(Removal.objects.values_list("subject", "rows")) == {"sweeps": 1, "kept answers": 1}
    told = LogEntry.objects.filter(change_message__contains="Removed").get()
    assert told.change_message == "Removed 2 rows whose retention had ended: sweeps 1, kept answers 1."


def test_open_alerts_stay_and_resolved_ones_go_after_the_limit(settings: Settings) -> None:
    settings.OPSCONSOLE_KEEP_ALERTS_DAYS = 10
    kept = {alert(None).pk, alert(10 * DAY - MOMENT).pk}
    alert(10 * DAY + MOMENT)

    assert alert_tasks.prune() == "alerts: 1"

    assert set(Alert.objects.values_list("pk", flat=True)) == kept


def test_sizes_are_sampled_once_a_day_and_give_the_growth() -> None:
    sizes.sample()
    first = TableSize.objects.count()
    sizes.sample()
    assert TableSize.objects.count() == first > 20
    now = {size.table: size for size in sizes.read()}
    assert now["job_events"].growth is None and now["job_events"].index_bytes > 0
    TableSize.objects.filter(table="job_events").update(
        day=Now() - 2 * DAY, bytes=now["job_events"].bytes - 2_000
    )
    assert {size.table: size for size in sizes.read()}["job_events"].growth == 1_000


def test_nothing_is_counted_for_the_sizes(django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(2) as asked:
        sizes.read()
    assert not any("count(" in query["sql"].lower() for query in asked.captured_queries)


def test_page_shows_all_of_it_to_administrators_alone(client: Client) -> None:
    old_sweep()
    job_tasks.prune()
    page = reverse("admin:opsconsole_tablesize_changelist")
    viewer = people.viewer()
    client.force_login(viewer)
    text = client.get(page).content.decode()
    assert "OPSCONSOLE_KEEP_SWEEPS_DAYS" in text and "job_events" in text and "unknown until tomorrow" in text
    assert "sweeps, 1 (schedule)" in text
    assert "of rows, nothing is due." in text and " tables, the largest is " in text
    assert '<td data-label="What stays longer">nothing</td>' in text and 'longer"></td>' not in text
    viewer.user_permissions.remove(Permission.objects.get(codename="view_tablesize"))
    assert client.get(page).status_code == 403
    every = {"opsconsole.view_tablesize", "jobs.view_job"}
    assert roles.permissions_of(roles.OPERATOR, every) == {"jobs.view_job"}
    assert roles.permissions_of(roles.ADMINISTRATOR, every) == every


def test_count_that_takes_too_long_is_unknown_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = Func(5.0, function="pg_sleep", output_field=TextField())
    slow = ContentType.objects.alias(slept=slept).filter(slept="")
    quick = ContentType.objects.filter(app_label="admin")
    # A quick count may wait for a processor for as long as a second.
    monkeypatch.setattr(subjects, "COUNTING_MS", 1_000)
    rows = {"slow": slow, "quick": quick}
    of = [subjects.Subject(name, "X", lambda: DAY, partial(rows.get, name), "") for name in rows]  # type: ignore[arg-type]  # never None
    monkeypatch.setattr(subjects, "SUBJECTS", tuple(of))

    lines = {line.subject.name: line for line in subjects.lines()}

    assert (lines["slow"].due, lines["quick"].due) == (None, quick.count())
    assert lines["slow"].due_text == "too many to count quickly"
