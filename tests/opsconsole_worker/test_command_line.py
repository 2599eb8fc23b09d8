"""Tests of ``python -m opsconsole_worker``: its refusals, its choice of a handler, and its log."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from opsconsole_worker import command_line, known_secrets, log_lines
from opsconsole_worker.database import door
from opsconsole_worker.working import handler_choice
from opsconsole_worker.working.handlers import InvalidHandler
from tests.jobs.worker import handlers

DATABASE = "postgres://u:Yx3kQ9wTz7Lm2Np@db:5432/app"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"
HANDLER = "tests.jobs.worker.handlers.return_at_once"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Name a database and a queue that nobody asks, and put back what a worker replaces in its process."""
    for name in ("DATABASE_URL_FILE", "OPSCONSOLE_QUEUES", "SQS_DLQ_URL", "OPSCONSOLE_URL", "OPSCONSOLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    monkeypatch.setenv("SQS_QUEUE_URL", QUEUE)
    usual = door.current()
    yield
    door.use(usual)


@pytest.mark.parametrize(
    ("variables", "words", "sentence"),
    [
        ({"DATABASE_URL": ""}, [], "DATABASE_URL must be set to a PostgreSQL URL such as "),
        ({"DATABASE_URL": "mysql://u:hunter2-hunter2@db/app"}, [], "DATABASE_URL must be a PostgreSQL URL"),
        ({"DATABASE_URL_FILE": "/nowhere"}, [], "DATABASE_URL and DATABASE_URL_FILE are both set."),
        (
            {"DATABASE_URL": "", "DATABASE_URL_FILE": "/nowhere"},
            [],
            "DATABASE_URL_FILE names '/nowhere', which can't be used: No such file",
        ),
        ({}, ["--http"], "OPSCONSOLE_URL must be set to the address of the console, such as https://ops"),
        (
            {"DATABASE_URL": "", "OPSCONSOLE_URL": "ops"},
            [],
            "OPSCONSOLE_URL must be a URL such as https://ops",
        ),
        (
            {"OPSCONSOLE_URL": "https://u:hunter2-hunter2@ops.example.com"},
            ["--http"],
            "OPSCONSOLE_URL must be a plain address such as https://ops",
        ),
        (
            {"OPSCONSOLE_URL": "http://ops.example.com"},
            ["--http"],
            "OPSCONSOLE_URL must begin with https://: over http:// to another machine, everybody on the way can read the key.",
        ),
        (
            {"OPSCONSOLE_URL": "http://ops.example.com", "OPSCONSOLE_ALLOW_PLAIN_HTTP": "yes"},
            ["--http"],
            "OPSCONSOLE_ALLOW_PLAIN_HTTP must be true or false, not 'yes'.",
        ),
        (
            # It is allowed, so the next thing is missing.
            {"OPSCONSOLE_URL": "http://ops.example.com", "OPSCONSOLE_ALLOW_PLAIN_HTTP": "true"},
            ["--http"],
            "OPSCONSOLE_KEY must be set to an API key",
        ),
        (
            {"OPSCONSOLE_URL": "http://127.0.0.1:8000"},
            ["--http"],
            "OPSCONSOLE_KEY must be set to an API key",
        ),
        (
            {"OPSCONSOLE_URL": "https://ops.example.com"},
            ["--http"],
            "OPSCONSOLE_KEY must be set to an API key with the scope worker",
        ),
        (
            {"OPSCONSOLE_URL": "https://ops.example.com", "OPSCONSOLE_KEY_FILE": "/nowhere"},
            ["--http"],
            "OPSCONSOLE_KEY_FILE names '/nowhere', which can't be used: No such file",
        ),
        (
            {"SQS_QUEUE_URL": ""},
            [],
            "There is no queue named 'default'. Known queues: none; set SQS_QUEUE_URL.",
        ),
        ({}, ["--queue", "slow"], "There is no queue named 'slow'. Known queues: default."),
        ({"SQS_QUEUE_URL": "sqs"}, [], "SQS_QUEUE_URL must be a queue's URL such as "),
        (
            {"OPSCONSOLE_BEAT_INTERVAL_SECONDS": "soon"},
            [],
            "OPSCONSOLE_BEAT_INTERVAL_SECONDS must be a whole number",
        ),
        (
            {"DATABASE_URL": "postgres://u:hunter2@ss@db/app"},
            [],
            "DATABASE_URL must be a PostgreSQL URL whose user and password are percent-encoded, such as %40 for @.",
        ),
        (
            {"DATABASE_URL": "postgres://u:hunter2%zz@db/app"},
            [],
            "DATABASE_URL must be a PostgreSQL URL whose user and password are percent-encoded",
        ),
        ({"OPSCONSOLE_LOG_FORMAT": "xml"}, [], "OPSCONSOLE_LOG_FORMAT must be text or json, not 'xml'."),
        ({}, [], "No handler was named, and no installed package has an entry point 'default'"),
        ({}, ["--handler", "nowhere"], "The handler 'nowhere' can't be imported: nowhere doesn't look like"),
        ({}, ["--handlers", "no.such"], "The module 'no.such' can't be imported: No module named 'no'."),
        (
            {},
            ["--handlers", "json"],
            "The module 'json' has no HANDLERS, a dict from names of queues to functions.",
        ),
        (
            {},
            ["--handler", HANDLER, "--setup", "json.nothing"],
            "The function 'json.nothing' can't be imported: ",
        ),
        ({}, ["--handler", HANDLER, "--before-run", "sys.path"], "'sys.path' is not a function."),
    ],
)
def test_refused_in_a_sentence(
    variables: dict[str, str],
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert command_line.main(words) == command_line.REFUSED
    told = capsys.readouterr().err
    assert told.startswith(f"opsconsole-worker: {sentence}")
    assert told.endswith(".\n")
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max-jobs", "0"], "must be at least 1"),
        (["--handler", "a.b", "--handlers", "a"], "not allowed with argument"),
    ],
)
def test_wrong_arguments(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(words)
    assert ended.value.code == command_line.REFUSED
    assert sentence in capsys.readouterr().err


class TestChoice:
    @pytest.fixture
    def shop(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """Return a module with a handler for the queue 'default' and something else for 'odd'."""
        module = ModuleType("shop_of_this_test")
        module.HANDLERS = {"default": handlers.return_at_once, "odd": handlers.take_nothing}  # type: ignore[attr-defined]  # made here
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return module

    def test_table_in_a_module(self, shop: ModuleType) -> None:
        chosen = handler_choice.chosen("default", path=None, module=shop.__name__)
        assert chosen is handlers.return_at_once

    @pytest.mark.parametrize(
        ("queue", "sentence"),
        [
            ("slow", "has no handler for the queue 'slow'. It has: default, odd."),
            ("odd", r"HANDLERS\['odd'\]' must take one argument, the run's context"),
        ],
    )
    def test_table_without_a_fit_handler(self, shop: ModuleType, queue: str, sentence: str) -> None:
        with pytest.raises(InvalidHandler, match=sentence):
            handler_choice.chosen(queue, path=None, module=shop.__name__)

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ((), "no installed package has an entry point 'default'"),
            (("json:nothing",), "The handler 'json:nothing' of an entry point can't be loaded"),
            ((HANDLER, "json:loads"), "Several entry points handle the queue 'default': json:loads, tests"),
        ],
    )
    def test_entry_points_that_do_not_fit(
        self, values: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.install(monkeypatch, *values)
        with pytest.raises(InvalidHandler, match=sentence):
            handler_choice.chosen("default", path=None, module=None)

    def test_entry_point(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.install(monkeypatch, "tests.jobs.worker.handlers:return_at_once")
        assert handler_choice.chosen("default", path=None, module=None) is handlers.return_at_once

    def install(self, monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
        def installed(*, group: str, name: str) -> list[EntryPoint]:
            return [EntryPoint(name, value, group) for value in values]

        monkeypatch.setattr(handler_choice, "entry_points", installed)

    def test_function_before_each_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        called: list[str] = []
        monkeypatch.setattr(handlers, "prepare", lambda: called.append("prepare"), raising=False)

        def handler(context: Any) -> dict[str, bool]:
            called.append("run")
            return {"done": True}

        prepared = handler_choice.after("tests.jobs.worker.handlers.prepare", handler)
        context: Any = None
        assert prepared(context) == prepared(context) == {"done": True}
        assert called == ["prepare", "run", "prepare", "run"]


@pytest.mark.parametrize("style", log_lines.FORMATS)
def test_lines_name_the_run_and_no_secret(style: str, tmp_path: Path) -> None:
    secrets = known_secrets.secrets_of({"DATABASE_URL": DATABASE})
    formatter = log_lines.LineFormatter(style, secrets)
    record = logging.LogRecord("shop", logging.INFO, "", 0, "asked %s", (DATABASE,), None)
    with log_lines.about(job=7, run=2, worker="w-1"):
        line = formatter.format(record)
    assert "Yx3kQ9wTz7Lm2Np" not in line
    if style == log_lines.JSON:
        assert {"job": 7, "run": 2, "worker": "w-1", "logger": "shop"}.items() <= json.loads(line).items()
    else:
        assert line.endswith(" job=7 run=2 worker=w-1")
    assert "job" not in formatter.format(record).replace("jobs", "")
