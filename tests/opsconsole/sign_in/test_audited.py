"""What the audit says of people: log-ins, refusals, what changed of an account and why, and what was taken out."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command, get_commands
from django.db import DatabaseError, connection
from django.db.models.functions import Now, TruncMinute
from django.test import Client
from django.urls import reverse
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from jobs.models import RecoveryControl
from jobs.recovery import control
from jobs.runs.timeline import Actor
from opsconsole import foreign_commands
from opsconsole.kit import audit
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.audit_models import Refusal
from opsconsole.kit.pauses import active
from opsconsole.sign_in import refusals
from opsconsole_worker.environment import QueueConfig
from tests import keys, people
from tests.factories import job
from tests.racing import race
from tests.sending import send

pytestmark = pytest.mark.django_db
LOG_IN = reverse("admin:login")


def lines() -> list[tuple[str, str, str]]:
    """Return who did what, why, in the order of the audit."""
    entries = audit.with_details(LogEntry.objects.order_by("pk"))
    return [(audit.who(entry), audit.parts_of(entry).did, audit.parts_of(entry).why) for entry in entries]


def log_in(client: Client, name: str, password: str, address: str = "10.0.0.9") -> int:
    return client.post(LOG_IN, {"username": name, "password": password}, REMOTE_ADDR=address).status_code


def end_minute(after: timedelta = timedelta(0)) -> None:
    """Let the minute of the refusals be the last one, or end only ``after`` some time, however slow the test is."""
    Refusal.objects.update(minute=TruncMinute(Now() + after - timedelta(minutes=1)))


def test_log_in_and_log_out(client: Client) -> None:
    people.viewer()
    assert log_in(client, "vera", people.PASSWORD) == 302
    client.post(reverse("admin:logout"))
    assert lines() == [("vera", "Logged in.", ""), ("vera", "Logged out.", "")]
    assert audit.parts_of(LogEntry.objects.earliest("pk")).result == "From 10.0.0.9."


def test_refused_log_ins_are_sums_per_account_and_client(client: Client) -> None:
    people.viewer()
    for _ in range(3):
        log_in(client, "vera", "wrong")
    log_in(client, "my-password-by-mistake", "wrong")
    end_minute(after=timedelta(hours=1))
    assert refusals.write_down() == 0, "the minute is not over"
    assert lines() == []
    end_minute()
    assert refusals.write_down() == 2
    assert refusals.write_down() == 0
    [known, unknown] = lines()
    assert known[0] == unknown[0] == "somebody at 10.0.0.9"
    assert known[1].startswith("Login refused, 3 times in the minute of")
    assert unknown[1].startswith("Login refused as others, 1 time in")
    about = [entry.object_repr for entry in LogEntry.objects.order_by("pk")]
    assert about == ["vera", audit.PROGRAM]
    assert "my-password" not in str(list(LogEntry.objects.values()))


def test_storm_of_refusals_fills_neither_table() -> None:
    for number in range(refusals.MOST_ROWS + 30):
        refusals.count(Refusal.Kind.LOG_IN, address=f"10.0.{number}.1")
    assert Refusal.objects.count() == refusals.MOST_ROWS + 1
    assert Refusal.objects.get(address="").times == 30
    end_minute()
    assert refusals.write_down() == LogEntry.objects.count() == refusals.MOST_ROWS + 1


@pytest.mark.django_db(transaction=True)
def test_sums_are_written_once_by_two_processes_at_once() -> None:
    refusals.count(Refusal.Kind.LOG_IN, address="10.0.0.1")
    end_minute()
    assert sorted(race([refusals.write_down] * 3)) == [0, 0, 1]
    assert LogEntry.objects.count() == 1


def test_refused_change_is_counted_and_refused_look_is_not(client: Client) -> None:
    client.force_login(people.viewer())
    address = reverse("admin:jobs_job_operate", args=["requeue"])
    assert client.get(address).status_code == client.post(address).status_code == 403
    end_minute()
    refusals.write_down()
    [(who, did, _)] = lines()
    assert who == "vera" and did.startswith(f"Refused for want of permission: POST {address}, 1 time in")


def test_roles_and_flags_are_told_before_and_after_with_the_reason(client: Client) -> None:
    call_command("sync_roles", verbosity=0)
    olga, vera = people.operator(), User.objects.create_user("vera", is_staff=True)
    vera.groups.add(Group.objects.get(name="Viewer"))
    written = LogEntry.objects.count()
    client.force_login(olga)
    address = reverse("admin:auth_user_change", args=[vera.pk])
    form = client.get(address).context["adminform"].form
    given: dict[str, Any] = {name: value for name, value in form.initial.items() if isinstance(value, str)}
    given |= {"groups": [Group.objects.get(name="Operator").pk], "is_staff": "on", "is_superuser": "on"}
    given |= {"last_login_0": "", "last_login_1": ""}
    assert send(client, address, given).status_code == 200, "without a reason"
    assert LogEntry.objects.count() == written
    assert send(client, address, given | {"reason": "she is on call"}).status_code == 302
    who, did, why = lines()[-1]
    assert (who, why) == ("olga", "she is on call")
    assert did == "Active: yes to no; Superuser status: no to yes; Roles: Viewer to Operator."


def test_permissions_of_a_role_are_told(client: Client) -> None:
    call_command("sync_roles", verbosity=0)
    client.force_login(people.operator())
    role = Group.objects.get(name="Viewer")
    kept = [str(row.pk) for row in role.permissions.exclude(codename="view_job")]
    address = reverse("admin:auth_group_change", args=[role.pk])
    send(client, address, {"name": "Viewer", "permissions": kept, "reason": "they look at letters only"})
    assert lines()[-1] == (
        "olga",
        "Permissions: removed View jobs.",
        "they look at letters only",
    )


def test_passwords(client: Client) -> None:
    olga, vera = people.operator(), people.viewer()
    client.force_login(olga)
    new = {"password1": "another-horse-battery", "password2": "another-horse-battery"}
    hers = reverse("admin:auth_user_password_change", args=[vera.pk])
    assert send(client, hers, new | {"usable_password": "true"}).status_code == 200, "without a reason"
    send(client, hers, new | {"usable_password": "true", "reason": "she forgot it"})
    send(client, hers, {"usable_password": "false", "reason": "she left", "unset-password": "x"})
    own = {
        "old_password": people.PASSWORD,
        "new_password1": new["password1"],
        "new_password2": new["password1"],
    }
    client.post(reverse("admin:password_change"), own)
    assert lines() == [
        ("olga", "Set a new password.", "she forgot it"),
        ("olga", "Took the password away.", "she left"),
        ("olga", "Changed their own password.", ""),
    ]
    assert "battery" not in str(list(LogEntry.objects.values()))


def test_role_is_deleted_for_a_reason(client: Client) -> None:
    client.force_login(people.operator())
    role = Group.objects.create(name="Night shift")
    role.user_set.add(people.viewer())
    role.permissions.set(Permission.objects.filter(codename__in=("view_job", "requeue_job")))
    address = reverse("admin:auth_group_delete", args=[role.pk])
    asked = send(client, address, {"post": "yes"}).content.decode()
    assert "Give a reason" in asked and Group.objects.filter(pk=role.pk).exists() and lines() == []
    assert send(client, address, {"post": "yes", "reason": "no night shift any more"}).status_code == 302
    assert lines() == [
        ("olga", "Deleted. Members: vera; permissions: Requeue a job, View jobs", "no night shift any more")
    ]
    assert not Group.objects.filter(pk=role.pk).exists()


def test_backup_code_that_is_used_up(client: Client) -> None:
    vera = people.viewer()
    TOTPDevice.objects.create(user=vera, name="App", confirmed=True)
    codes = StaticDevice.objects.create(user=vera, name="Backup codes", confirmed=True)
    codes.token_set.create(token="abcdefgh")
    codes.token_set.create(token="ijklmnop")
    client.force_login(vera)
    for token in ("wrong-one", "abcdefgh"):
        client.post(reverse("second_factor_prove"), {"token": token}, REMOTE_ADDR="10.0.0.9")
    assert lines() == [("vera", "Used a backup code instead of the app; 1 backup code left.", "")]
    assert audit.parts_of(LogEntry.objects.get()).result == "From 10.0.0.9."


def test_refused_api_keys_are_sums_per_key_and_route(client: Client) -> None:
    row, text = keys.key("shop", ["limits:check"])
    for _ in range(3):
        address = reverse("api:beat_run", args=[uuid4()])
        answer = client.post(address, {}, "application/json", headers=keys.sent(text))
        assert answer.status_code == 403
    end_minute()
    assert refusals.write_down() == 1
    [(who, did, _)] = lines()
    assert who == f"the API key {row} at 127.0.0.1"
    # The notation of the API's documentation, as on the page of limited requests.
    assert did.startswith("Refused for want of the scope worker: POST /api/jobs/{job_id}/beat,")
    assert "3 times in the minute" in did


def test_downloads(client: Client) -> None:
    client.force_login(people.operator())
    made = job()
    client.get(reverse("admin:audit_export", args=["csv"]), {"who": "olga"})
    client.get(reverse("admin:jobs_job_whole", args=[made.pk, "payload"]))
    assert [did for _, did, _ in lines()] == [
        "Downloaded the audit as CSV, filters: who=olga.",
        "Downloaded the whole column payload.",
    ]


def test_commands_name_the_user_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "deploy")
    call_command("pause", "recovery", "--reason", "deploy 1.4", "--as", "ada")
    call_command("pause", "recovery", "--resume", "--reason", "deployed", "--as", "deploy")
    [(first, did, why), (second, _, _)] = lines()
    assert re.fullmatch(r"ada, as deploy at \S+ says \(command\)", first)
    assert re.fullmatch(r"deploy at \S+ \(command\)", second)
    assert (did, why) == ("Recovery is paused.", "deploy 1.4") and active("recovery") is None


@pytest.mark.parametrize("command", [("pause", "recovery"), ("recovery_mode", "arm", "--cutoff", "now")])
def test_command_changes_nothing_without_its_line(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    control.disarm(Actor.operator("olga", None), "to be looked at")
    monkeypatch.setattr(LogEntry.objects, "bulk_create", refuse)
    with pytest.raises((CommandError, DatabaseError)):
        call_command(*command, "--reason", "deploy 1.4", stdout=StringIO())
    assert active("recovery") is None and RecoveryControl.load().mode == RecoveryControl.Mode.OBSERVE
    assert lines() == []


def refuse(*_: Any, **__: Any) -> None:
    raise DatabaseError("could not extend file")


def test_command_that_enqueues_writes_one_line(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.example/jobs", None)}
    monkeypatch.setattr("getpass.getuser", lambda: "deploy")
    given = ["--customer", "acme", "--package-size", "5", "--as", "ada", "--reason", "the form was down"]
    call_command("enqueue_jobs", *given, stdout=(printed := StringIO()))
    call_command("enqueue_jobs", *given, "--count", "20", stdout=StringIO())
    [(who, one, why), (_, several, _)] = lines()
    assert who.startswith("ada, as deploy at ") and why == "the form was down"
    assert one == f"Enqueued the job {printed.getvalue().strip()} for the queue default."
    assert several.startswith("Enqueued 20 jobs, the first is ")
    with pytest.raises(CommandError):
        call_command("enqueue_jobs", *given[:3], "0", stdout=StringIO())
    assert len(lines()) == 2


def test_commands_of_other_packages(capsys: pytest.CaptureFixture[str]) -> None:
    people.viewer()
    for arguments in (
        ["axes_reset_username", "vera"],
        ["addstatictoken", "-t", "abcdefgh", "vera"],
        ["axes_reset", "--help"],
        ["check"],
    ):
        foreign_commands.note(arguments)
    assert [did for _, did, _ in lines()] == [
        "Ran the command axes_reset_username vera.",
        "Ran the command addstatictoken.",
    ]


# What a person's command changed is in the audit. What a schedule does as well has records of its own, also when a
# command does it: sweeps, timelines, deliveries, readings.
AUDITED = {
    "alerts", "api_keys", "bulk_operation", "changepassword", "channels", "createsuperuser", "enqueue_jobs", "migrate", "move_tables",
    "pause", "rate_limits", "recover_stale_jobs", "recovery_mode", "redrive_dlq", "requeue_job", "retention", "send_test_alert",
    "sync_roles",
    "sync_schedules", "uninstall", "verify", "verify_audit",
}  # fmt: skip
WITH_RECORDS_OF_THEIR_OWN = {
    "check_dlq", "cleanup_rate_limits", "dispatch_outbox", "judge_monitors", "qcluster", "run_cluster", "run_worker",
    "send_alerts",
}  # fmt: skip
CHANGE_NOTHING = {
    "axes_list_attempts", "check", "collectstatic", "compilemessages", "demo_story", "diffsettings", "dumpdata",
    "find_stale_jobs", "findstatic", "inspect_database", "inspectdb", "makemessages", "makemigrations",
    "optimizemigration", "qinfo", "qmemory", "qmonitor", "runserver", "sendtestemail", "showmigrations", "sqlflush", "sqlmigrate",
    "sqlsequencereset", "squashmigrations", "startapp", "startproject", "test", "testserver",
    "worker_sql",
}  # fmt: skip
# The triggers refuse TRUNCATE.
REFUSED = {"flush"}


def test_every_command_is_accounted_for() -> None:
    ours = [AUDITED, WITH_RECORDS_OF_THEIR_OWN, CHANGE_NOTHING, REFUSED]
    of_others = [set(foreign_commands.WITH_ARGUMENTS), set(foreign_commands.BY_NAME)]
    assert get_commands().keys() == set().union(*ours, *of_others)
    assert sum(map(len, [*ours, *of_others])) == len(get_commands())


def test_account_of_nobody_can_not_log_in_and_is_not_listed(client: Client) -> None:
    nobody = audit.nobody()
    assert not nobody.has_usable_password() and not nobody.is_active
    client.force_login(people.operator())
    assert audit.PROGRAM not in client.get(reverse("admin:auth_user_changelist")).content.decode()


def test_older_lines_have_no_details() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_admin_log (action_time, user_id, object_repr, action_flag, change_message)"
            " VALUES (now(), %s, 'x', 2, E'Requeued.\\nWhy: she called')",
            [people.operator().pk],
        )
    entry = LogEntry.objects.get()
    assert audit.parts_of(entry) == AuditParts("Requeued.", "she called") and audit.who(entry) == "olga"


def test_accounts_and_passwords_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "deploy")
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: "another-horse-battery")
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", people.PASSWORD)
    call_command("createsuperuser", "--noinput", "--username", "root", "--email", "", verbosity=0)
    call_command("changepassword", "root", verbosity=0)
    assert [(who.partition(" at ")[0], did) for who, did, _ in lines()] == [
        ("deploy", "Added: is superuser, is staff."),
        ("deploy", "Set a new password."),
    ]
    assert {entry.object_repr for entry in LogEntry.objects.all()} == {"root"}
