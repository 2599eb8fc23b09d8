"""The output and exit codes of the commands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from alerts import notify
from alerts.models import Alert
from alerts.notify import Trouble
from tests.alerts.conftest import Later
from tests.fakes.slack import FakeSlack, Reply

pytestmark = pytest.mark.django_db


def test_test_command_prints_the_answer_of_the_channel(
    slack: FakeSlack, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("send_test_alert", channel="slack")
    assert capsys.readouterr().out == "slack: Delivered: 200 ok\n"
    assert len(slack.posts) == 1


def test_test_command_fails_when_the_test_is_rejected(
    slack: FakeSlack, capsys: pytest.CaptureFixture[str]
) -> None:
    slack.always = Reply(404, "no_service")
    with pytest.raises(CommandError, match=r"The test was not delivered to slack\."):
        call_command("send_test_alert")
    assert capsys.readouterr().out == "slack: rejected permanently: 404 no_service\n"


def test_test_command_refuses_an_unknown_channel(slack: FakeSlack, settings: Any) -> None:
    with pytest.raises(CommandError, match=r"There is no channel 'mail'\. Channels: slack"):
        call_command("send_test_alert", channel="mail")
    settings.SLACK_WEBHOOK_URL = None
    with pytest.raises(CommandError, match="No channel is configured"):
        call_command("send_test_alert")


def test_send_command_sends_waiting_alerts(
    slack: FakeSlack, capsys: pytest.CaptureFixture[str], later: Later
) -> None:
    notify.fire("x", Trouble(title="X", severity="warning"))
    call_command("send_alerts")
    assert capsys.readouterr().out == "1 sent, 0 to be retried, 0 refused.\n"
    later(5)
    slack.always = Reply(410, "channel_is_archived")
    notify.resolve("x")
    with pytest.raises(CommandError, match="Some alerts were not delivered"):
        call_command("send_alerts")


def test_judge_command_exits_with_1_when_a_monitor_is_late(
    capsys: pytest.CaptureFixture[str], later: Later
) -> None:
    notify.monitor_ok("sweep", timedelta(minutes=2))
    call_command("judge_monitors")
    later(600)
    with pytest.raises(SystemExit) as exit_info:
        call_command("judge_monitors")
    assert exit_info.value.code == 1
    assert capsys.readouterr().out == "No monitor is late.\nLate: sweep.\n"
    assert Alert.objects.open().exists()
