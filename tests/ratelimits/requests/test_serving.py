"""Rate limiting under real servers: processes with threads, and an event loop."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.test import AsyncClient
from pytest_django.fixtures import Settings

from tests.databases import REPOSITORY
from tests.programs import program
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.databases import Database

GUNICORN = ["-m", "gunicorn", "--config", "python:opsconsole.serving", "--workers", "3", "--threads", "2"]
UVICORN = ["-m", "uvicorn", "opsconsole.asgi:application", "--workers", "2", "--log-level", "warning"]
EDIT = 'UPDATE rate_limit_policies SET "limit" = %s WHERE name = %s'


class ProxiedClient(http.client.HTTPConnection):
    """A client behind a proxy that connects through a Unix socket. ``address``: the client address that the proxy sends."""

    def __init__(self, path: Path, address: str) -> None:
        super().__init__("console", timeout=30)
        self.path = path
        self.address = address

    def connect(self) -> None:
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.connect(str(self.path))
        except OSError:
            opened.close()
            raise
        self.sock = opened

    def get(self, path: str) -> tuple[int, http.client.HTTPMessage]:
        self.request("GET", path, headers={"X-Forwarded-For": self.address, "Connection": "close"})
        response = self.getresponse()
        response.read()
        self.close()
        return response.status, response.headers


@contextmanager
def serving(command: list[str], option: str, database: Database, folder: Path) -> Iterator[Path]:
    path = folder / "web"
    bind = f"unix:{path}" if option == "--bind" else str(path)
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.ratelimits.requests.server_settings",
        "DATABASE_URL": database.url(),
        "OPSCONSOLE_TRUSTED_PROXIES": "unix",
        "OPSCONSOLE_WEB_PROCESSES": "3",
    }
    with (folder / "log").open("wb") as log:
        served = program(
            [sys.executable, *command, option, bind],
            end_signal=signal.SIGTERM,
            cwd=REPOSITORY,
            env=environ,
            stderr=log,
            stdout=log,
        )
        with served:
            wait_until(lambda: path.exists() and _answers(path), timeout=60)
            yield path


def _answers(path: Path) -> bool:
    try:
        return ProxiedClient(path, "192.0.2.1").get("/plain")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    ("command", "option", "view"),
    [(GUNICORN, "--bind", "/standard/x"), (UVICORN, "--uds", "/standard/x")],
    ids=["gunicorn", "uvicorn"],
)
def test_processes_share_a_limit_while_other_policies_are_edited(
    attach: Callable[[str], Database], tmp_path: Path, command: list[str], option: str, view: str
) -> None:
    theirs = attach("")
    with serving(command, option, theirs, tmp_path) as path:
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(ProxiedClient(path, "203.0.113.7").get, view) for _ in range(150)]
            for limit in range(1_000, 1_020):
                theirs.sql(EDIT, [limit, "relaxed"])
            responses = [call.result() for call in calls]
        assert Counter(status for status, _ in responses) == {200: 100, 429: 50}
        assert {headers["RateLimit-Policy"] for _, headers in responses} == {'"standard";q=100;w=60'}
        assert min(int(headers["Retry-After"]) for status, headers in responses if status == 429) > 0
        assert ProxiedClient(path, "203.0.113.8").get(view)[0] == 200

        theirs.sql(EDIT, [200, "standard"])
        edited = time.monotonic()
        headers_seen = [ProxiedClient(path, "203.0.113.8").get(view)[1]["RateLimit-Policy"] for _ in range(5)]
        while headers_seen[-20:] != ['"standard";q=200;w=60'] * 20:
            headers_seen.append(
                ProxiedClient(path, f"198.51.100.{len(headers_seen) % 250}").get(view)[1]["RateLimit-Policy"]
            )
            assert time.monotonic() - edited < 60
        # The counts are kept: 100 of the 200 are used.
        assert ProxiedClient(path, "203.0.113.7").get(view)[1]["RateLimit"].startswith('"standard";r=99;')

    # Each process writes its counts when it ends.
    written = theirs.sql(
        "SELECT outcome, sum(hits) FROM rate_limit_requests WHERE key = 'address:203.0.113.7' GROUP BY 1"
    )
    assert dict(written) == {"allowed": 101, "limited": 50}
    log = (tmp_path / "log").read_text()
    assert "ERROR" not in log and "Too Many" not in log


@pytest.mark.parametrize("path", ["/strict", "/strict-async"])
def test_sync_and_async_views_under_asgi(settings: Settings, path: str) -> None:
    settings.ROOT_URLCONF = "tests.ratelimits.requests.views"
    client = AsyncClient()

    async def ask_all() -> list[Any]:
        return [await client.get(path) for _ in range(12)]

    responses = asyncio.run(ask_all())
    assert [response.status_code for response in responses] == [200] * 10 + [429] * 2
    assert responses[-1].headers["Cache-Control"] == "no-store"
