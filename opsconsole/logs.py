"""Logging: one line per event, as text for people or as JSON for programs (OPSCONSOLE_LOG_FORMAT).

``opsconsole_worker.log_lines`` makes the lines, because workers without the console write the same ones. Here is who writes at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from opsconsole_worker.known_secrets import secrets_of
from opsconsole_worker.log_lines import FORMATS, HIDDEN, JSON, TEXT, LineFormatter, without

__all__ = [
    "FORMATS",
    "HIDDEN",
    "JSON",
    "TEXT",
    "CausesOnly",
    "LineFormatter",
    "configuration",
    "of_gunicorn",
    "secrets_of",
    "without",
]


# Marks a record that has passed the filter.
TOLD = "has_cause"


class CausesOnly(logging.Filter):
    """Drops the line that Django writes per answer below 500, which the access log has, or 503: its cause has a line, once.

    Of a database that is away as a whole, each request says so in one line. Where it was noticed is no cause, and told by each
    request of an outage, it would bury the rest of the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if TOLD in record.__dict__:
            # Whoever configures logging again adds this filter a second time.
            return True
        status = getattr(record, "status_code", None)
        told_elsewhere = status is not None and (status < 500 or status == HTTPStatus.SERVICE_UNAVAILABLE)
        error = record.exc_info[1] if record.exc_info else None
        if told_elsewhere and error and (state := _state_behind(error)):
            record.msg, record.args = "%s: %s", (record.getMessage(), state)
            record.exc_info = None
        elif status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            # A request that is refused is no failure of the console: where it was noticed says nothing.
            record.exc_info = None
        if told_elsewhere and error is None:
            return False
        record.__dict__[TOLD] = True
        return True


def _state_behind(error: BaseException) -> str:
    """Return the state of the whole database that caused an error, or '' where it is no such state."""
    # The settings read this module before anything of Django works.
    from django.db import InterfaceError, InternalError, OperationalError  # noqa: PLC0415

    from opsconsole.kit.database_troubles import Trouble, headline, trouble_behind  # noqa: PLC0415
    from opsconsole.kit.errors import first_line  # noqa: PLC0415

    if not isinstance(error, InterfaceError | InternalError | OperationalError):
        # To know more about others, the database would be asked.
        return ""
    trouble = trouble_behind(error)
    whole = trouble in {Trouble.AWAY, Trouble.NO_TRANSACTIONS, Trouble.READ_ONLY, Trouble.DISK_FULL}
    return f"{headline(trouble)}: {first_line(error)}" if whole else ""


def configuration(style: str, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of Django's setting LOGGING."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"causes": {"()": CausesOnly}},
        "formatters": {"line": {"()": LineFormatter, "style": style, "secrets": secrets}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
            "nowhere": {"class": "logging.NullHandler"},
        },
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # Django's own handlers would repeat or drop lines; ours writes each one once.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"filters": ["causes"]},
            # The access log has these lines, with durations (opsconsole.access_log).
            "django.server": {"handlers": ["nowhere"], "propagate": False},
            "uvicorn.access": {"handlers": ["nowhere"], "propagate": False},
            "uvicorn": {"handlers": [], "propagate": True},
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


def of_gunicorn(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the logging of gunicorn's own lines where they are to be JSON; None leaves it to gunicorn's options."""
    if environment.get("OPSCONSOLE_LOG_FORMAT", "").strip() != JSON:
        return None
    ours = configuration(JSON, secrets_of(environment))
    own = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return ours | {"loggers": ours["loggers"] | {"gunicorn.error": own}}
