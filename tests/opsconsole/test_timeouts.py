"""Tests of statement timeouts: slow statements of pages are cancelled, and the page says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from opsconsole import timeouts
from tests import people

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.django_db(transaction=True)
def test_page_reports_statement_timeout(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.force_login(people.viewer())

    def slow(*_: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '20ms'")
            try:
                cursor.execute("SELECT pg_sleep(60)")
            finally:
                cursor.execute("RESET statement_timeout")
        return []

    monkeypatch.setattr("opsconsole.search.search", slow)

    answer = client.get(reverse("search"), {"q": "anything"})

    assert answer.status_code == 503
    assert "This took too long" in answer.content.decode()


def test_other_errors_are_not_shown_as_timeouts() -> None:
    middleware = timeouts.TooSlowMiddleware(lambda _: pytest.fail("not called"))

    assert middleware.process_exception(HttpRequest(), ValueError("x")) is None


def test_limit_is_added_to_other_options(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)

    settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS = 0
    timeouts.limit_statements()
    assert options == {}

    settings.OPSCONSOLE_PAGE_TIMEOUT_SECONDS = 7
    options["options"] = "-c search_path=theirs"
    timeouts.limit_statements()
    assert options["options"] == "-c search_path=theirs -c statement_timeout=7s"


@pytest.mark.parametrize("entry", ["wsgi", "asgi"])
def test_processes_that_serve_pages_are_limited(entry: str) -> None:
    program = (
        f"import opsconsole.{entry}\nfrom django.db import connection\n"
        "with connection.cursor() as cursor:\n    cursor.execute('SHOW statement_timeout')\n    print(cursor.fetchone()[0])"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.split()[-1] == "15s"
