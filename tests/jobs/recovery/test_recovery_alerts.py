"""Tests of the alerts about mass staleness and stale jobs: they say what recovery does now, after each sweep and each decision."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from psycopg.errors import QueryCanceled

from alerts import notify
from alerts.models import Alert, Notification
from alerts.notify import Trouble
from jobs.models import Job, RecoveryControl
from jobs.recovery import control, outlook, recovery_alerts, surroundings, sweeps
from jobs.runs.timeline import Actor
from jobs.watch import gauges
from opsconsole.kit.display import clock_time
from opsconsole_worker.environment import QueueConfig
from tests.factories import run
from tests.operators import Program
from tests.sending import versions_on

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("held")]

HOUR = timedelta(hours=1)
RECOVERY, CONTROLS = "admin:jobs_recoverycontrol_changelist", "admin:opsconsole_pause_changelist"


@pytest.fixture
def held(db: None, settings: Any) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/q", None)}
    settings.OPSCONSOLE_MASS_STALE_RUNS = 2
    control.arm(Actor.operator("ada", None), "tests", cutoff=None)
    dead_runs("first", "second")
    sweeps.sweep("test")


def dead_runs(*workers: str) -> None:
    for worker in workers:
        run(age=2 * HOUR, silent=HOUR, worker=worker)


def told() -> str:
    return Alert.objects.open().get(fingerprint=control.MASS_STALENESS).summary


def decided_on_page(page: str, **asked: str) -> Callable[[Client], object]:
    def decide(client: Client) -> object:
        response = client.post(reverse(page), asked | versions_on(client.get(reverse(page))))
        assert response.status_code == 302
        return response

    return decide


def by_command(*words: str) -> Callable[[Client], object]:
    return lambda _: call_command(*words, "--reason", "It is a deploy.", verbosity=0)


DECISIONS: dict[str, tuple[Callable[[Client], object], str]] = {
    "release on the page": (
        decided_on_page(RECOVERY, **{"decision": "release", "release-reason": "They are dead."}),
        "The next sweep recovers what may be recovered.",
    ),
    "release by command": (
        by_command("recovery_mode", "release-hold"),
        "The next sweep recovers what may be recovered.",
    ),
    "observe on the page": (
        decided_on_page(RECOVERY, **{"decision": "disarm", "disarm-reason": "To look at it."}),
        "Recovery only observes: sweeps change nothing until somebody arms it.",
    ),
    "observe by command": (
        by_command("recovery_mode", "observe"),
        "Recovery only observes: sweeps change nothing",
    ),
    "pause by command": (by_command("pause", "recovery", "--minutes", "600"), "Recovery is paused until"),
    "fence after a restore": (
        by_command("recovery_mode", "restored"),
        "Recovery only observes: sweeps change nothing",
    ),
}


def test_held_alert_says_until_when() -> None:
    state = RecoveryControl.load()
    assert state.hold_until is not None
    assert told() == (
        f"Recovery is held until {clock_time(state.hold_until)}, or until somebody releases the hold, because 2 runs went silent "
        "at once. Sweeps recover nothing before that. The network or the database may be at fault, and the workers may be alive. "
        "Check the workers, then release the hold or let it end automatically."
    )


@pytest.mark.parametrize(("decide", "sentence"), DECISIONS.values(), ids=DECISIONS)
def test_each_decision_changes_the_words_and_sends_nothing(
    operator: Client, decide: Callable[[Client], object], sentence: str
) -> None:
    assert told().startswith("Recovery is held until")
    sent = Notification.objects.count()

    decide(operator)

    alert = Alert.objects.open().get(fingerprint=control.MASS_STALENESS)
    assert alert.summary.startswith(sentence)
    assert outlook.of_sweeps(surroundings.read()).sentence in alert.summary
    assert "release the hold or let it end" not in alert.summary
    assert (alert.title, alert.value, alert.severity) == ("2 runs went silent at once", 2, "critical")
    assert Notification.objects.count() == sent


@pytest.mark.parametrize(("decide", "sentence"), DECISIONS.values(), ids=DECISIONS)
def test_each_decision_changes_what_the_alert_about_stale_jobs_promises(
    operator: Client, decide: Callable[[Client], object], sentence: str
) -> None:
    dead_runs("third", "fourth", "fifth", "sixth")
    gauges.watch()
    before = Alert.objects.open().get(fingerprint=recovery_alerts.STALE_JOBS)
    assert "UTC: Recovery is held until" in dict(before.facts)["Recovery"]
    sent = Notification.objects.count()

    decide(operator)

    alert = Alert.objects.open().get(fingerprint=recovery_alerts.STALE_JOBS)
    assert f" UTC: {sentence}" in dict(alert.facts)["Recovery"]
    assert [label for label, _ in alert.facts] == [label for label, _ in before.facts]
    assert (alert.title, alert.value, alert.summary) == (before.title, before.value, before.summary)
    assert Notification.objects.count() == sent


def test_alert_without_this_fact_gets_none() -> None:
    notify.fire(recovery_alerts.STALE_JOBS, Trouble(title="Jobs lost their worker", severity="warning"))
    sweeps.sweep("test")
    assert Alert.objects.open().get(fingerprint=recovery_alerts.STALE_JOBS).facts == []


def test_pause_and_its_end_on_the_page_change_the_words(operator: Client) -> None:
    for decision, sentence in (("pause", "Recovery is paused until"), ("resume", "Recovery is held until")):
        page = operator.get(reverse(CONTROLS))
        asked = {
            "name": "recovery",
            "decision": decision,
            "recovery-minutes": "240",
            "recovery-reason": "A deploy.",
        }
        operator.post(reverse(CONTROLS), asked | versions_on(page))
        assert told().startswith(sentence)


def test_pause_and_its_end_by_the_api_change_the_words() -> None:
    program = Program("pauses:read", "pauses:operate")
    for decision, sentence in (("begin", "Recovery is paused until"), ("end", "Recovery is held until")):
        [recovery, *_] = program.get("pauses").json()["pauses"]
        lasting: dict[str, Any] = {"minutes": 600} if decision == "begin" else {}
        answer = program.change(f"pauses/{decision}", recovery["version"], name="recovery", **lasting)
        assert answer.status_code == 200
        assert told().startswith(sentence)


def test_decision_stands_where_the_stale_runs_are_not_counted_in_time(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow() -> None:
        raise OperationalError from QueryCanceled

    before = told()
    with monkeypatch.context() as patched:
        patched.setattr(surroundings, "read", slow)
        decided_on_page(RECOVERY, **{"decision": "disarm", "disarm-reason": "To look at it."})(operator)
    assert RecoveryControl.load().mode == RecoveryControl.Mode.OBSERVE
    assert told() == before
    sweeps.sweep("test")
    assert told().startswith("Recovery only observes")


def test_each_sweep_tells_it_anew() -> None:
    dead_runs("third")
    sweeps.sweep("test")
    alert = Alert.objects.open().get(fingerprint=control.MASS_STALENESS)
    assert (alert.title, alert.value) == ("3 runs went silent at once", 3)
    assert "because 3 runs went silent at once" in alert.summary

    RecoveryControl.objects.update(mode=RecoveryControl.Mode.OBSERVE)
    sweeps.sweep("test")
    assert told().startswith("Recovery only observes")


def test_hold_whose_time_is_over_is_told_as_over() -> None:
    RecoveryControl.objects.update(hold_until=Now() - HOUR, hold_started_at=Now() - 2 * HOUR)
    Job.objects.update(updated_at=Now() - HOUR)
    sweeps.sweep("test")
    assert (
        not Alert.objects.open()
        .filter(fingerprint=control.MASS_STALENESS, summary__startswith="Recovery is held")
        .exists()
    )


def test_retelling_without_an_open_alert_opens_none() -> None:
    notify.resolve(control.MASS_STALENESS)
    notify.retell(control.MASS_STALENESS, summary="Nothing.", title="Nothing", value=1)
    assert not Alert.objects.open().exists()
    assert not Alert.objects.filter(summary="Nothing.").exists()
