"""Tests of the command ``recovery_mode``, the counterpart of the page that arms recovery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from jobs.models import QueueNaming, RecoveryControl
from opsconsole.kit import pauses
from tests.factories import run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def called(*words: str) -> str:
    out = StringIO()
    call_command("recovery_mode", *words, stdout=out)
    return out.getvalue()


def database_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        time: datetime = cursor.fetchone()[0]
        return time


def test_arm_with_cutoff_and_return_to_observing() -> None:
    said = called(
        "arm", "--cutoff", "2026-01-31T08:00:00+01:00", "--reason", "Looked at the list.", "--as", "ada"
    )
    state = RecoveryControl.load()
    assert (state.mode, state.cutoff) == ("armed", datetime(2026, 1, 31, 7, tzinfo=UTC))
    assert (state.changed_by, state.reason) == ("operator:ada", "Looked at the list.")
    assert "Recovery is armed" in said
    assert "Runs that began before 2026-01-31T07:00:00+00:00 are only recovered by hand." in said

    said = called("observe", "--reason", "Too eager.", "--as", "ada")
    assert RecoveryControl.load().mode == "observe"
    assert said.startswith("Recovery only observes: sweeps change nothing until somebody arms it.")
    assert "Set by ada" in called("show")


def test_command_names_what_stops_sweeps() -> None:
    called("arm", "--cutoff", "all", "--reason", "All of them.")
    assert "The next sweep recovers what may be recovered." in called("show")
    pauses.begin(pauses.RECOVERY, by="ada", reason="deploy")
    assert "Recovery is paused until somebody resumes it." in called("show")
    assert "next sweep" not in called("show")


def test_cutoff_now_uses_database_clock() -> None:
    before = database_clock()
    called("arm", "--cutoff", "now", "--reason", "From here on.")
    cutoff = RecoveryControl.load().cutoff
    assert cutoff is not None
    assert before < cutoff < database_clock()


def test_without_a_cutoff_all_runs_are_recovered() -> None:
    assert "There is no cutoff" in called("arm", "--cutoff", "all", "--reason", "All of them.")
    assert RecoveryControl.load().cutoff is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["arm", "--cutoff", "yesterday", "--reason", "x"], "is not 'now', 'all' or a time"),
        (["arm", "--cutoff", "2026-01-31T08:00:00", "--reason", "x"], "with a time zone"),
        (["arm", "--cutoff", "2026-02-31T08:00:00Z", "--reason", "x"], "is not 'now', 'all' or a time"),
        (["arm", "--cutoff", "now", "--reason", "  "], "Give a --reason"),
        (["arm", "--cutoff", "9999-12-31T23:59:59-12:00", "--reason", "x"], "is still to come"),
        (["arm", "--cutoff", "now"], "--reason"),
        (["arm", "--reason", "x"], "--cutoff"),
        (["release-hold", "--reason", "x"], "There is no hold to release"),
        (["unknown-runs", "--rule", "after", "--reason", "x"], "--hours goes with --rule after"),
        (["unknown-runs", "--rule", "never", "--hours", "3", "--reason", "x"], "--hours goes with"),
        (
            ["unknown-runs", "--rule", "after", "--hours", "0.1", "--reason", "x"],
            "between the stale threshold",
        ),
        (["unknown-runs", "--rule", "after", "--hours", "nan", "--reason", "x"], "give a number of hours"),
        (["unknown-runs", "--rule", "after", "--hours", "1e9", "--reason", "x"], "and 90 d"),
        (["unknown-runs", "--rule", "sometimes", "--reason", "x"], "invalid choice"),
        (["unknown-runs", "--rule", "never"], "--reason"),
        ([], "step"),
    ],
)
def test_refused_arguments_change_nothing(words: list[str], sentence: str) -> None:
    before = RecoveryControl.objects.values().get()
    with pytest.raises(CommandError, match=sentence):
        called(*words)
    assert RecoveryControl.objects.values().get() == before


def test_rule_for_unknown_runs_is_chosen_and_shown() -> None:
    assert "Unknown runs are left to operators." in called("show")
    said = called(
        "unknown-runs", "--rule", "after", "--hours", "6", "--reason", "No beats name jobs.", "--as", "ada"
    )
    assert "Unknown runs count as stale after 6 h of silence." in said
    state = RecoveryControl.load()
    assert (state.unknown_rule, state.unknown_after, state.changed_by) == ("after", 6 * HOUR, "operator:ada")
    said = called("unknown-runs", "--rule", "visibility", "--reason", "As SQS does.")
    assert "once they were silent for the visibility timeout" in said
    called("unknown-runs", "--rule", "never", "--reason", "Too eager.")
    assert RecoveryControl.load().unknown_rule == "never"


def test_arming_says_what_kind_of_workers_there_are() -> None:
    QueueNaming.objects.create(queue="default", seen=50, named=0)
    said = called("arm", "--cutoff", "all", "--reason", "All of them.")
    assert "Queue 'default': Of the runs without the console's protocol, 0% were seen named" in said


def test_hold_is_shown_and_released(settings: Any) -> None:
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    began = timezone.now()
    run(age=HOUR)
    RecoveryControl.objects.update(mode="armed", hold_started_at=began, hold_until=began + HOUR)
    assert "or until somebody releases the hold, because 1 run went silent at once." in called("show")
    said = called("release-hold", "--reason", "The network is back.", "--as", "ada")
    assert "The next sweep recovers what may be recovered." in said
    state = RecoveryControl.load()
    assert (state.hold_until, state.forgiven_before, state.changed_by) == (None, began, "operator:ada")
