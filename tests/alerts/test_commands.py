"""``manage.py alerts`` and ``manage.py channels``: the same decisions as on the pages, with the same audit."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command

from alerts import notify
from alerts.models import Alert
from alerts.notify import Trouble
from opsconsole.kit import audit
from tests.fakes.slack import FakeSlack, Reply

pytestmark = pytest.mark.django_db


def fire(fingerprint: str, severity: str = "warning") -> Alert:
    notify.fire(fingerprint, Trouble(title=f"About {fingerprint}", severity=severity))
    return Alert.objects.get(fingerprint=fingerprint)


def run(capsys: pytest.CaptureFixture[str], *arguments: str, fails: bool = False) -> Any:
    if fails:
        with pytest.raises(CommandError):
            call_command(*arguments, "--json")
    else:
        call_command(*arguments, "--json")
    return json.loads(capsys.readouterr().out)


def audited() -> list[tuple[str, str, str]]:
    lines = audit.with_details(LogEntry.objects.order_by("pk"))
    return [(audit.parts_of(line).did, audit.parts_of(line).why, audit.who(line)) for line in lines]


def test_open_alerts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = fire("one"), fire("two", severity="critical")
    notify.resolve("one")
    assert [each["number"] for each in run(capsys, "alerts", "list")] == [two.pk]
    assert {each["number"] for each in run(capsys, "alerts", "list", "--all")} == {one.pk, two.pk}
    assert run(capsys, "alerts", "list", "--severity", "warning") == []
    call_command("alerts", "list")
    assert "About two" in capsys.readouterr().out


def test_list_says_of_an_alert_whose_problem_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    notify.fire("quarantined_jobs", Trouble(title="3 jobs in quarantine", severity="warning"))
    notify.clear("quarantined_jobs")
    call_command("alerts", "list")
    assert "3 jobs in quarantine, no longer so" in capsys.readouterr().out
    [listed] = run(capsys, "alerts", "list")
    assert listed["clear_since"] and listed["state"] == "firing"


def test_list_says_that_there_are_more(capsys: pytest.CaptureFixture[str]) -> None:
    fire("one"), fire("two")
    call_command("alerts", "list", "--limit", "1")
    assert "The newest 1; there are more" in capsys.readouterr().out


def test_acknowledging_is_kept_with_who_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    alert, gone = fire("one"), fire("two")
    notify.resolve("two")
    options = ("--reason", "looking", "--as", "olga")
    answer = run(capsys, "alerts", "acknowledge", str(alert.pk), str(gone.pk), *options, fails=True)
    assert answer == {"acknowledged": [alert.pk], "not_open": [gone.pk]}
    alert.refresh_from_db()
    assert (alert.state, alert.handled_by, alert.handled_reason) == ("acknowledged", "olga", "looking")
    [(did, why, who)] = audited()
    assert (did, why) == ("Acknowledged.", "looking")
    assert who.startswith("olga, as ")


def test_snooze_ends_by_the_databases_clock(capsys: pytest.CaptureFixture[str]) -> None:
    alert = fire("one")
    run(capsys, "alerts", "snooze", str(alert.pk), "--minutes", "90", "--reason", "the vendor works on it")
    alert.refresh_from_db()
    assert alert.snoozed_until is not None
    assert alert.handled_at is not None
    assert abs(alert.snoozed_until - alert.handled_at - timedelta(minutes=90)) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resolve",), "reason"),
        (("snooze", "--minutes", "0", "--reason", "x"), "--minutes"),
        (("snooze", "--minutes", "999999", "--reason", "x"), "--minutes"),
    ],
)
def test_what_the_page_refuses_is_refused(arguments: tuple[str, ...], said: str) -> None:
    alert = fire("one")
    with pytest.raises(CommandError, match=said):
        call_command("alerts", arguments[0], str(alert.pk), *arguments[1:])
    alert.refresh_from_db()
    assert alert.state == "firing"
    assert audited() == []


def test_channels_are_listed_and_tested(capsys: pytest.CaptureFixture[str], slack: FakeSlack) -> None:
    [listed] = run(capsys, "channels", "list")
    assert (listed["name"], listed["state"], listed["last_ok_at"]) == ("slack", "not_used", None)
    [tested] = run(capsys, "channels", "test", "slack")
    assert (tested["channel"], tested["delivered"]) == ("slack", True)
    [listed] = run(capsys, "channels", "list")
    assert listed["state"] == "working"
    call_command("channels", "list")
    assert "slack (Slack): Working" in capsys.readouterr().out


def test_broken_channel_is_told_without_its_address(
    capsys: pytest.CaptureFixture[str], slack: FakeSlack
) -> None:
    slack.replies = [Reply(404, "channel_not_found")]
    [tested] = run(capsys, "channels", "test", fails=True)
    assert not tested["delivered"]
    call_command("channels", "list")
    told = capsys.readouterr().out
    assert "Broken" in told
    assert slack.url not in told
