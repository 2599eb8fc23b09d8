"""One readable line an event: time in UTC, level, logger, message."""

from __future__ import annotations

import logging
import time


class LineFormatter(logging.Formatter):
    """A message stays on its line, whatever text from outside it carries; only a traceback follows below."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:<7} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that it overrides
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
