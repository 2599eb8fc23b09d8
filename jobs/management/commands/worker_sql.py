"""The command that prints the SQL of the worker protocol for this database. Connects to nothing."""

from __future__ import annotations

import json
import re
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from psycopg import sql

from jobs.models.columns import HEARTBEATS, JOBS
from jobs.models.worker import stale_after
from jobs.runs import life_wording
from opsconsole.kit import commands, own_schema
from opsconsole_worker.doubling import MOST_DOUBLINGS
from opsconsole_worker.messages import REASON_LENGTH
from opsconsole_worker.runs import beat_statements, lifecycle, progress, statements
from opsconsole_worker.runs.heartbeats import PROTOCOL

STATEMENTS = {
    "claim": statements.CLAIM,
    "heartbeat": beat_statements.BEAT,
    "heartbeat of an idle worker": beat_statements.IDLE_BEAT,
    "progress": statements.NOTE,
    "progress in percent": progress.REPORT,
    "last progress": progress.LAST,
    "complete": statements.COMPLETE,
    "fail": statements.FAIL,
    "leave": beat_statements.LEAVE,
}
TRIED = {"complete": "completed", "fail": "failed"}


class Command(commands.ConsoleCommand):
    help = (
        "Print the statements of a worker in any language, with the names and status words of this database. :name stands for "
        "a parameter. Run each by the simple protocol, with autocommit; the last result is the answer."
    )
    examples = ("worker_sql > protocol.sql", "worker_sql --json")
    # It needs no database, and no check of one.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        commands.add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        texts = {name: f"{_printed(statement, _settled(name))};" for name, statement in STATEMENTS.items()}
        promise = life_wording.promise()
        lines = [f"-- {promise}", f"\n-- rights of the worker's role\n{_rights()}"]
        lines += [f"\n-- {name}\n{text}" for name, text in texts.items()]
        self.tell(
            {"promise": promise, "rights": _rights(), "statements": texts}, lines, as_json=options["json"]
        )


def _rights() -> str:
    own = own_schema.quoted(own_schema.name())
    granted = [
        f"USAGE ON SCHEMA {own}",
        f"SELECT, UPDATE ON {JOBS.sql}",
        f"SELECT, INSERT, UPDATE, DELETE ON {HEARTBEATS.sql}",
        f"SELECT, INSERT ON {own}.job_events",
        f"SELECT, INSERT ON {own}.outbox",
        f"SELECT, INSERT, UPDATE ON {own}.run_progress",
    ]
    return "\n".join(f"GRANT {each} TO your_worker;" for each in granted)


def _settled(name: str) -> dict[str, Any]:
    """Return the parameters whose values are the same for every worker with SQL."""
    return {
        "key": "",
        "redriven": False,
        "asked_before": False,
        "once": None,
        "protocol": json.dumps(PROTOCOL | {"key": ""}),
        "lives": f"{stale_after().total_seconds():g} s",
        "max_attempts": settings.OPSCONSOLE_MAX_ATTEMPTS,
        "delays": [lifecycle.backoff(failures).total_seconds() for failures in range(1, MOST_DOUBLINGS + 2)],
        "reason_length": REASON_LENGTH,
        "tried": TRIED.get(name, ""),
    } | ({"error": ""} if name == "complete" else {})


def _printed(statement: str, settled: dict[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        return sql.Literal(settled[name]).as_string(None) if name in settled else f":{name}"

    return re.sub(r"%\((\w+)\)s", value, statement).replace("%%", "%").strip()
