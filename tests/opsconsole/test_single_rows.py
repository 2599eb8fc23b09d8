"""Tables of one row that lost it: somebody deleted it, or a restore left it out. Nothing crashes, and ``migrate`` writes it again."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.test import Client

from jobs.models import RecoveryControl
from jobs.recovery import control
from jobs.runs.timeline import Actor
from opsconsole import needed_rows
from opsconsole.kit.single_rows import RowMissing
from ratelimits.models import LimiterControl
from ratelimits.policies import policy_cache
from tests.databases import Database

PAGES = ("/admin/", "/admin/jobs/job/", "/admin/jobs/recoverycontrol/")


@pytest.fixture
def without_recovery(db: None) -> None:
    RecoveryControl.objects.all().delete()


@pytest.mark.usefixtures("without_recovery")
def test_readiness_names_the_missing_row() -> None:
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "row missing")


@pytest.mark.usefixtures("without_recovery")
@pytest.mark.parametrize("path", PAGES)
def test_pages_say_what_is_missing_and_what_to_do(path: str, operator: Client) -> None:
    operator.raise_request_exception = False
    page = operator.get(path)
    assert page.status_code == 503
    assert "is missing in the database" in page.text and "manage.py migrate" in page.text


@pytest.mark.usefixtures("without_recovery")
@pytest.mark.parametrize(
    "words",
    [
        ("recover_stale_jobs",),
        ("recover_stale_jobs", "--dry-run"),
        ("find_stale_jobs",),
        ("recovery_mode", "show"),
        ("recovery_mode", "arm", "--cutoff", "now", "--reason", "x"),
    ],
    ids=" ".join,
)
def test_commands_do_nothing_without_the_row(words: tuple[str, ...]) -> None:
    with pytest.raises(RowMissing, match="recovery_control has lost its only row"):
        call_command(*words)


@pytest.mark.usefixtures("without_recovery")
def test_decision_about_recovery_writes_the_row_again() -> None:
    control.arm(Actor.operator("ada", None), "x", cutoff=None)
    written = RecoveryControl.objects.get()
    assert (written.armed, written.changed_by, written.reason) == (True, "operator:ada", "x")


@pytest.mark.django_db
def test_limits_hold_while_the_row_of_the_limiter_is_missing(operator: Client) -> None:
    LimiterControl.objects.all().delete()
    policy_cache.clear()
    operator.raise_request_exception = False

    assert policy_cache.current().get("strict").limit == 10
    assert operator.get("/admin/jobs/job/").status_code == 200
    page = operator.get("/admin/ratelimits/limitercontrol/")
    assert page.status_code == 503 and "manage.py migrate" in page.text
    for words in (("rate_limits", "list"), ("rate_limits", "mode", "off", "--reason", "x")):
        with pytest.raises(RowMissing, match="rate_limit_control has lost its only row"):
            call_command(*words)


@pytest.mark.django_db
def test_rows_that_are_there_stay_as_they_are() -> None:
    before = list(RecoveryControl.objects.values()), list(LimiterControl.objects.values())
    assert needed_rows.write_again() == []
    assert (list(RecoveryControl.objects.values()), list(LimiterControl.objects.values())) == before


def test_migrate_writes_the_rows_again(theirs: Database) -> None:
    assert theirs.manage("migrate", "-v0").returncode == 0
    theirs.sql("DELETE FROM opsconsole.recovery_control; DELETE FROM opsconsole.rate_limit_control")
    swept = theirs.manage("recover_stale_jobs")
    assert (swept.returncode, swept.stdout, swept.stderr.count("\n")) == (3, "", 1)
    assert (
        "recovery_control has lost its only row, which python manage.py migrate writes again" in swept.stderr
    )

    migrated = theirs.manage("migrate", "-v0")

    assert migrated.returncode == 0
    assert "recovery only observes until it is armed" in migrated.stderr
    assert theirs.sql("SELECT mode FROM opsconsole.recovery_control") == [("observe",)]
    assert theirs.sql("SELECT mode, length(salt) FROM opsconsole.rate_limit_control") == [("enforce", 64)]
    assert theirs.manage("recover_stale_jobs").returncode == 0
