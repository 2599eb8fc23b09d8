"""Tests of how many processes serve, and of what they find loaded.

The share of each process in a limit follows their number, also where a supervisor has read the settings before.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from django.urls import get_script_prefix

from opsconsole import serving
from opsconsole.api import reference
from opsconsole.api.routes import api
from opsconsole.serving import program

NAME = "OPSCONSOLE_WEB_PROCESSES"


@pytest.mark.parametrize(("told", "known"), [("", 4), ("7", 1)])
def test_settings_that_were_read_before_learn_the_number(
    monkeypatch: pytest.MonkeyPatch, settings: Any, told: str, known: int
) -> None:
    monkeypatch.setenv(NAME, told)
    settings.OPSCONSOLE_WEB_PROCESSES = 1
    serving._tell_settings(4)
    assert (settings.OPSCONSOLE_WEB_PROCESSES, os.environ[NAME]) == (known, told or "4")


@pytest.mark.parametrize("mounted", ["", "/console"])
def test_forks_find_the_api_document_made(monkeypatch: pytest.MonkeyPatch, mounted: str) -> None:
    """Each would keep the 8 MB that making it takes. Its addresses are those under which the console is mounted."""
    monkeypatch.setenv("SCRIPT_NAME", mounted)
    reference.document_at.cache_clear()
    reference.make_document()
    assert get_script_prefix() == "/"
    monkeypatch.setattr(api, "get_openapi_schema", None)
    paths = json.loads(reference.document_at(f"{mounted}/"))["paths"]
    assert {path.partition("/api/")[0] for path in paths} == {mounted}


@pytest.mark.django_db
def test_loading_accepts_a_program_without_the_pages(settings: Any) -> None:
    """The benchmarks of limiters and of the checking route serve such ones."""
    settings.ROOT_URLCONF = "tests.ratelimits.requests.views"
    program.load.__wrapped__()


@pytest.mark.django_db
def test_supervisor_ends_where_the_options_of_gunicorn_are_wrong(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = list(sys.argv)
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers many")
    with pytest.raises(SystemExit) as ended:
        program.program()
    assert ended.value.code
    assert "'many'" in capfd.readouterr().err
    assert sys.argv == arguments
