"""The commands: what they say, and with which exit code."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from alerts import notify
from alerts.models import Alert
from tests.alerts.conftest import Later
from tests.fakes.slack import FakeSlack, Reply

pytestmark = pytest.mark.django_db


def test_a_test_says_what_the_channel_answered(slack: FakeSlack, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("send_test_alert", channel="slack")
    assert capsys.readouterr().out == "slack: Delivered: 200 ok\n"
    assert len(slack.posts) == 1


def test_a_test_that_is_refused_fails(slack: FakeSlack, capsys: pytest.CaptureFixture[str]) -> None:
    slack.always = Reply(404, "no_service")
    with pytest.raises(CommandError, match=r"The test was not delivered to slack\."):
        call_command("send_test_alert")
    assert capsys.readouterr().out == "slack: rejected permanently: 404 no_service\n"


def test_a_channel_that_is_not_there_is_refused(slack: FakeSlack, settings: Any) -> None:
    with pytest.raises(CommandError, match=r"There is no channel 'mail'\. Channels: slack"):
        call_command("send_test_alert", channel="mail")
    settings.SLACK_WEBHOOK_URL = None
    with pytest.raises(CommandError, match="No channel is configured"):
        call_command("send_test_alert")


def test_one_round_sends_what_waits(
    slack: FakeSlack, capsys: pytest.CaptureFixture[str], later: Later
) -> None:
    notify.fire("x", title="X", severity="warning")
    call_command("send_alerts")
    assert capsys.readouterr().out == "1 sent, 0 to be retried, 0 refused.\n"
    later(5)
    slack.always = Reply(410, "channel_is_archived")
    notify.resolve("x")
    with pytest.raises(CommandError, match="Some alerts were not delivered"):
        call_command("send_alerts")


def test_monitors_are_judged_for_a_cron_elsewhere(capsys: pytest.CaptureFixture[str], later: Later) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    call_command("judge_monitors")
    later(600)
    with pytest.raises(SystemExit) as ended:
        call_command("judge_monitors")
    assert ended.value.code == 1
    assert capsys.readouterr().out == "No monitor is late.\nLate: sweep.\n"
    assert Alert.objects.open().exists()
