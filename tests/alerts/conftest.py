"""A Slack that answers as told, and time that is moved instead of waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.fakes.slack import FakeSlack, serve

Later = Callable[[float], None]


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    """The channel ``slack``, and no other."""
    with serve() as server:
        settings.SLACK_WEBHOOK_URL = server.url
        settings.OPSCONSOLE_ALERT_CHANNELS = {}
        settings.OPSCONSOLE_ALERT_FALLBACK = ""
        settings.OPSCONSOLE_PUBLIC_URL = "https://ops.example.com"
        yield server


@pytest.fixture
def later() -> Later:
    """``later(seconds)``: all that the database remembers happened so much earlier, which is as if time had passed."""
    from tests.alerts import clock  # once settings are there: it imports models

    return lambda seconds: clock.move(timedelta(seconds=seconds))
