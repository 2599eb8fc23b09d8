"""Logging: one readable line per event, with the time in UTC, level, logger and message."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Any


class LineFormatter(logging.Formatter):
    """Keeps each message on one line, whatever outside text it contains; only a traceback follows on further lines."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:<7} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides this name
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


class CausesOnly(logging.Filter):
    """Drops the line that Django writes per answer 503 without an error: its cause has a line of its own, once."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE or bool(record.exc_info)


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"causes": {"()": CausesOnly}},
    "formatters": {"line": {"()": LineFormatter}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # Django's own handlers would repeat or drop lines; ours writes each one once.
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.request": {"filters": ["causes"]},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "django-q": {"handlers": [], "level": "INFO", "propagate": True},
        # Its messages about a channel are stored with the attempt, without the channel's secrets.
        "apprise": {"handlers": ["nowhere"], "propagate": False},
        # It logs each login, and each lookup of failures.
        "axes": {"level": "WARNING"},
        # It logs every request that waits for a thread.
        "waitress.queue": {"level": "ERROR"},
        # It logs for each new client where the credentials come from.
        "botocore": {"level": "WARNING"},
    },
}
