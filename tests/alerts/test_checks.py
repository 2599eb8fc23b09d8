"""The system check of alert channels."""

from __future__ import annotations

import subprocess
import sys
from os import environ

import pytest
from pytest_django.fixtures import Settings

from alerts.checks import check_channel_urls
from tests.repository import REPOSITORY


@pytest.mark.parametrize(
    ("url", "understood"),
    [
        ("mailtos://user:password@example.com?to=team@example.com", True),
        ("pagerduty://INTEGRATION_KEY@API_KEY", True),
        ("json://user:secret-word@127.0.0.1:1/hook", True),
        ("nonsense://secret-word", False),
        ("mailto://secret-word", False),
        ("secret-word", False),
    ],
)
def test_check_refuses_a_url_that_apprise_does_not_understand(
    settings: Settings, *, url: str, understood: bool
) -> None:
    settings.OPSCONSOLE_ALERT_CHANNELS = {"good": "json://127.0.0.1/", "pager": url}
    errors = check_channel_urls(None)
    assert [error.id for error in errors] == ([] if understood else ["alerts.E001"])
    assert [error.msg for error in errors if "secret-word" in f"{error.msg}{error.hint}"] == []


def test_every_command_names_the_channel_but_not_the_url() -> None:
    variables = environ | {"OPSCONSOLE_ALERT_CHANNELS": '{"pager": "nonsense://secret-word"}'}
    answer = subprocess.run(
        [sys.executable, "manage.py", "showmigrations"],
        cwd=REPOSITORY,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 1
    refusal = "OPSCONSOLE_ALERT_CHANNELS: Apprise does not understand the URL of the channel 'pager'."
    assert refusal in answer.stderr
    assert "secret-word" not in answer.stdout + answer.stderr
