"""Fixtures for browser tests: the system's Chromium, found by $CHROMIUM or on the PATH, driven by Playwright.

Fixtures import Django's models inside the function, because this file is loaded before the settings are.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from opsconsole_worker.environment import QueueConfig

if TYPE_CHECKING:
    from tests.journeys.visitor import Visitor

DEADLINE_MILLISECONDS = 30_000
HINT = "No Chromium is found: apt-get install chromium-headless-shell, or set CHROMIUM to the path of one."
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _path_of_chromium() -> str | None:
    # The first draws and scripts as the second does, and has no windows, which take a third of the processor time.
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start the browser per module, not per session, because its event loop lives in this thread.

    Django treats a thread with a running loop as asynchronous code and refuses database access there.
    """
    path = _path_of_chromium()
    if path is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(HINT)
        pytest.skip(HINT)
    # As far as the deadline of actions: five seconds are not enough on a machine that does other things, too.
    expect.set_options(timeout=DEADLINE_MILLISECONDS)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        opened = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def console(live_server: Any, settings: Any) -> str:
    """Yield the URL of a console with a morning of jobs, an operator and a viewer."""
    from tests import people
    from tests.journeys import scenery

    settings.QUEUES = {"default": QueueConfig("default", "http://127.0.0.1:9/queue", None)}
    scenery.build()
    people.operator()
    people.viewer()
    return str(live_server.url)


@pytest.fixture
def full_console(live_server: Any, settings: Any) -> str:
    """Yield the URL of a console with one row of every model and every optional feature enabled."""
    from tests import people
    from tests.journeys import letters
    from tests.opsconsole import everything

    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    settings.OPSCONSOLE_EDIT_DEAD_LETTERS = True
    settings.QUEUES = letters.queues()
    everything.build()
    people.operator()
    return str(live_server.url)


@pytest.fixture
def visitor(chromium: Browser, console: str) -> Iterator[Visitor]:
    """Yield a browser user; messages in the browser's console fail the test at its end."""
    from tests.journeys.visitor import Visitor

    opened = Visitor(chromium, console)
    yield opened
    opened.close()
    assert opened.complaints == []
