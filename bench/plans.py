"""The plans of the statements that a piece of work really issues, as the server reports them (auto_explain).

Nothing is run a second time, so writes, their order and what their transaction had seen are those of the work itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

START = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_analyze = on;
SET auto_explain.log_buffers = on;
SET auto_explain.log_timing = off;
SET auto_explain.log_format = json;
SET client_min_messages = log;
"""
STOP = "SET auto_explain.log_min_duration = -1; RESET client_min_messages"


@dataclass(frozen=True)
class Plan:
    """A statement that was executed: its milliseconds in the server, and the buffers it touched."""

    sql: str
    milliseconds: float
    buffers: int


@dataclass
class Plans:
    statements: list[Plan] = field(default_factory=list)

    @property
    def buffers(self) -> int:
        return sum(each.buffers for each in self.statements)

    def with_(self, words: str) -> Plan | None:
        """Return the first statement that has these words."""
        return next((each for each in self.statements if words in each.sql), None)

    def keep(self, notice: Any) -> None:
        head, found, plan = (notice.message_primary or "").partition("plan:\n")
        if not found:
            return
        told = json.loads(plan)
        root = told["Plan"]
        buffers = root.get("Shared Hit Blocks", 0) + root.get("Shared Read Blocks", 0)
        self.statements.append(Plan(told["Query Text"], float(head.split()[1]), buffers))


@contextmanager
def reported() -> Iterator[Plans]:
    """Yield what is filled with the plan of each statement on Django's connection; needs a superuser."""
    connection.ensure_connection()
    direct, plans = connection.connection, Plans()
    direct.add_notice_handler(plans.keep)
    direct.execute(START)
    try:
        yield plans
    finally:
        direct.execute(STOP)
        direct.remove_notice_handler(plans.keep)
