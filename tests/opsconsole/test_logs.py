"""Tests of log lines: one event is one line, whatever external text it contains."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from opsconsole.logs import LineFormatter


def line(message: str, *arguments: object, level: int = logging.WARNING) -> str:
    record = logging.LogRecord("jobs.sqs", level, "x.py", 1, message, arguments, None)
    return LineFormatter().format(record)


def test_time_level_logger_message() -> None:
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING jobs\.sqs: job 7 is stale"
    assert re.fullmatch(pattern, line("job %s is stale", 7))


def test_external_text_cannot_forge_lines_or_control_terminal() -> None:
    forged = line("customer %s", "x\n2030-01-01 INFO root: all well\r\x1b[2J\u2028")
    assert forged.isprintable()
    assert r"x\n2030-01-01" in forged and r"\x1b[2J\u2028" in forged
    assert line("customer %s", "Zoë 東京").endswith("customer Zoë 東京")


@pytest.mark.parametrize(
    ("status", "error", "kept"),
    [(503, None, False), (503, ValueError("x"), True), (500, None, True), (404, None, True)],
)
def test_answer_503_without_an_error_is_not_logged_per_request(
    caplog: pytest.LogCaptureFixture, status: int, error: Exception | None, kept: bool
) -> None:
    log_message(logging.getLogger("django.request"), "Answered: %s", "/", status_code=status, exception=error)
    assert bool(caplog.records) is kept


def log_message(
    logger: logging.Logger, message: str, *arguments: str, status_code: int, exception: Any
) -> None:
    """Log as Django does for a response of this status."""
    logger.error(message, *arguments, extra={"status_code": status_code}, exc_info=exception)
