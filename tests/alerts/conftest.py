"""Fixtures: a fake Slack, and simulated time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.fakes.slack import FakeSlack, serve

Later = Callable[[float], None]


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    """Run a fake Slack as the only channel."""
    with serve() as server:
        settings.SLACK_WEBHOOK_URL = server.url
        settings.OPSCONSOLE_ALERT_CHANNELS = {}
        settings.OPSCONSOLE_ALERT_FALLBACK = ""
        settings.OPSCONSOLE_PUBLIC_URL = "https://ops.example.com"
        yield server


@pytest.fixture
def later() -> Later:
    """Return a function that lets this many seconds pass, by moving all times in the database into the past."""
    from tests.alerts import clock  # once settings are there: it imports models

    return lambda seconds: clock.move(timedelta(seconds=seconds))
