"""Tests of recovery that a rule of the database refuses: it is told and alerted once, until it works again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from alerts.models import Alert, Notification
from jobs.models import Job, JobEvent, RecoveryControl, Status, Sweep
from jobs.recovery import control, outlook, refused_runs, surroundings, sweeps, totals
from jobs.runs.timeline import Actor
from opsconsole import overview
from opsconsole.kit import pauses
from opsconsole.kit.models import Pause
from opsconsole_worker.environment import QueueConfig
from tests.factories import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rules_without_delay")]

OPERATOR = Actor.operator("ada", None)
HOUR = timedelta(hours=1)
CHECKS = {
    "error_message": "ALTER TABLE jobs ADD CONSTRAINT short_errors CHECK (length(error_message) < 20)",
    "status": "ALTER TABLE jobs ADD CONSTRAINT their_words CHECK (status IN ('in_progress', 'done'))",
    "not null": "ALTER TABLE jobs ALTER COLUMN worker_id SET NOT NULL",
}
RAISES = """
CREATE FUNCTION keep_running() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF new.status = 'pending' THEN RAISE EXCEPTION 'a paid job never goes back'; END IF;
    RETURN new;
END $$;
CREATE TRIGGER keep_running BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION keep_running();
"""


@pytest.fixture(autouse=True)
def armed(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", None)}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    overview.memory.clear()
    control.arm(OPERATOR, "tests", cutoff=None)


def dead_runs(count: int) -> list[Job]:
    return [run(age=2 * HOUR, silent=HOUR, worker=f"worker-{number}") for number in range(count)]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (CHECKS["error_message"], "constraint 'short_errors' of table 'jobs'"),
        (CHECKS["status"], "constraint 'their_words' of table 'jobs'"),
        (CHECKS["not null"], "column 'worker_id' of table 'jobs'"),
        (RAISES, "a rule of the database"),
    ],
    ids=["CHECK on error_message", "CHECK on status", "NOT NULL", "trigger"],
)
def test_refused_recovery_is_one_alert_until_it_works(rule: str, named: str) -> None:
    dead = dead_runs(3)
    execute(rule)

    for _ in range(3):
        swept = sweeps.sweep("test")
        assert (swept.found, swept.requeued, swept.errors) == (3, 0, 3)

    alert = Alert.objects.get()
    assert alert.fingerprint == refused_runs.REFUSED_RUNS
    assert (alert.rule, alert.value, alert.severity) == ("refused_runs", 3, "critical")
    assert alert.title == "3 runs can't be recovered: the database refuses the change"
    assert dict(alert.facts)["Refused by"] == f"{named}: 3 runs"
    assert Notification.objects.count() == 1
    assert set(Job.objects.values_list("status", flat=True)) == {Status.IN_PROGRESS}
    assert not JobEvent.objects.exists()

    execute("ALTER TABLE jobs DROP CONSTRAINT IF EXISTS short_errors, DROP CONSTRAINT IF EXISTS their_words")
    execute(
        "ALTER TABLE jobs ALTER COLUMN worker_id DROP NOT NULL; DROP TRIGGER IF EXISTS keep_running ON jobs"
    )
    assert sweeps.sweep("test").requeued == 3
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED
    assert set(Job.objects.filter(pk__in=[each.pk for each in dead]).values_list("run_epoch", flat=True)) == {
        2
    }


def test_trigger_speaks_for_itself() -> None:
    dead_runs(1)
    execute(RAISES)
    sweeps.sweep("test")
    assert dict(Alert.objects.get().facts)["PostgreSQL said"] == "a paid job never goes back"


def test_outlook_promises_nothing_that_the_database_refuses(operator: Client) -> None:
    [dead] = dead_runs(1)
    execute(CHECKS["status"])
    sweeps.sweep("test")

    sentence = (
        "The database refused its recovery in the last sweep that acted, by constraint 'their_words' of table 'jobs'. Sweeps that "
        "act try again: the first one after the rule allows it requeues it."
    )
    [refused] = outlook.preview(surroundings.read(), 10)
    assert (refused.sentence, refused.why, refused.verb) == (sentence, sentence, "refused")
    assert outlook.totals([refused]) == (
        "1 stale run: 0 to requeue, 0 to quarantine, 0 to skip, 0 locked by others, 1 refused by the database"
    )
    page = operator.get(reverse("admin:jobs_recoverycontrol_changelist")).content.decode()
    assert "0 to leave alone, 1 refused by the database" in page and escape(sentence) in page
    page = operator.get(reverse("admin:jobs_job_change", args=[dead.pk])).content.decode()
    assert escape(sentence) in page


def pause() -> None:
    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy")


def hold() -> None:
    RecoveryControl.objects.update(hold_started_at=Now(), hold_until=Now() + HOUR)


@pytest.mark.parametrize("stop", [lambda: control.disarm(OPERATOR, "looking"), pause, hold])
def test_preview_knows_what_was_refused_although_later_sweeps_tried_nothing(
    operator: Client, settings: Any, stop: Callable[[], None]
) -> None:
    dead_runs(1)
    execute(CHECKS["status"])
    sweeps.sweep("test")
    run(age=2 * HOUR, silent=HOUR, worker="another")
    stop()
    settings.OPSCONSOLE_MASS_STALE_RUNS = 2
    for _ in range(2):
        assert sweeps.sweep("test").errors == 0

    out = StringIO()
    call_command("recover_stale_jobs", "--dry-run", stdout=out)
    said = out.getvalue()
    assert "1 to requeue, 0 to quarantine, 0 to skip, 0 locked by others, 1 refused by the database" in said
    assert (
        "The database refused its recovery in the last sweep that acted, by constraint 'their_words'" in said
    )
    page = operator.get(reverse("admin:jobs_recoverycontrol_changelist")).text
    assert "1 to requeue</strong>, 0 to quarantine, 0 to leave alone, 1 refused by the database" in page
    asked = {"decision": "preview", "arm-scope": "all", "arm-reason": "It is time."}
    page = operator.post(reverse("admin:jobs_recoverycontrol_changelist"), asked).text
    assert "1 refused by the database" in page

    execute("ALTER TABLE jobs DROP CONSTRAINT their_words")
    RecoveryControl.objects.update(hold_until=None)
    Pause.objects.all().delete()
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1_000
    control.arm(OPERATOR, "again", cutoff=None)
    assert sweeps.sweep("test").requeued == 2
    assert surroundings.glance().refused == {}


def test_alert_says_that_nobody_tries_while_recovery_only_observes_and_ends_with_its_runs() -> None:
    dead = dead_runs(2)
    execute(CHECKS["status"])
    sweeps.sweep("test")
    control.disarm(OPERATOR, "looking")
    Job.objects.filter(pk=dead[0].pk).delete()
    sweeps.sweep("test")
    alert = Alert.objects.open().get()
    assert alert.unknown_since is not None
    assert alert.unknown_why == "Recovery only observes, so no sweep tries to recover these runs"

    control.arm(OPERATOR, "again", cutoff=None)
    sweeps.sweep("test")
    alert = Alert.objects.open().get()
    assert (alert.value, alert.unknown_since) == (1, None)

    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy")
    Job.objects.all().delete()
    dead_runs(1)
    sweeps.sweep("test")
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED


def test_alert_about_more_runs_than_are_remembered_ends_with_the_last_stale_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(totals, "REFUSED_KEPT", 1)
    dead = dead_runs(2)
    execute(CHECKS["status"])
    sweeps.sweep("test")
    control.disarm(OPERATOR, "looking")
    for each in dead:
        assert Alert.objects.open().exists()
        Job.objects.filter(pk=each.pk).delete()
        sweeps.sweep("test")
    assert not Alert.objects.open().exists()


def test_pages_tell_refused_recovery(operator: Client) -> None:
    dead_runs(2)
    execute(CHECKS["error_message"])
    swept = sweeps.sweep("test")

    sentence = (
        "The database refused to let the last sweep recover 2 runs: constraint &#x27;short_errors&#x27; of table "
        "&#x27;jobs&#x27; (2 runs)."
    )
    assert sentence in operator.get(reverse("admin:jobs_recoverycontrol_changelist")).content.decode()
    assert sentence in operator.get(reverse("admin:index")).content.decode()
    assert (
        "short_errors" in operator.get(reverse("admin:jobs_sweep_change", args=[swept.pk])).content.decode()
    )
    assert Sweep.objects.get().details["refused"]["constraint 'short_errors' of table 'jobs'"]["runs"] == 2
