"""Tests of the console behind pgbouncer in statement mode, which refuses transactions: everything says so, and what helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import TestQueue
from tests.databases import Database
from tests.field import pooler
from tests.field.conftest import production, roles
from tests.field.console import NAME, PASSWORD, RUNTIME, Console
from tests.field.visitor import Visitor

SAID = "refuses transactions (pgbouncer with pool_mode = statement)"
HELPS = "set its pool_mode to transaction or session"
JOB = {"customer_id": "c-1", "package_size": 3}


@pytest.fixture
def console(database: Database, sqs_queue: TestQueue, static_folder: Path, tmp_path: Path) -> Console:
    queues = {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}
    return Console(tmp_path, database, production(static_folder) | roles(database) | queues)


def test_commands_name_the_mode_and_what_helps(console: Console) -> None:
    with pooler.pgbouncer(
        console.folder, server=console.database.server["host"], roles=(RUNTIME,), mode="statement"
    ) as port:
        behind = {"DATABASE_URL": pooler.url(port, RUNTIME, console.database.name)}
        checked = console.run("check", **behind)
        assert checked.returncode == 1, checked.stderr
        assert "jobs.statement-pooler" in checked.stderr and "pool_mode = transaction" in checked.stderr
        for words in (
            ("enqueue_jobs", "--customer", "c-1", "--package-size", "3"),
            ("recover_stale_jobs",),
        ):
            done = console.run(*words, **behind)
            assert done.returncode == 3, done.stderr
            assert SAID in done.stderr and HELPS in done.stderr and "Traceback" not in done.stderr
        inspected = console.run("inspect_database", "--json", **behind)
        assert inspected.returncode == 1, inspected.stderr
        [finding] = json.loads(inspected.stdout)
        assert (finding["id"], finding["severity"]) == ("statement-pooler", "blocker")
        assert "pool_mode = transaction" in finding["action"]
        verified = console.run("verify", **behind)
        assert "the pooler in front of the server refuses transactions" in " ".join(verified.stdout.split())
    assert console.database.value("SELECT count(*) FROM jobs") == 0


def test_pages_the_api_and_the_probe_name_the_mode(console: Console) -> None:
    secret = console.key("jobs:write")
    with (
        pooler.pgbouncer(
            console.folder, server=console.database.server["host"], roles=(RUNTIME,), mode="statement"
        ) as port,
        console.served(DATABASE_URL=pooler.url(port, RUNTIME, console.database.name)) as proxy,
        Visitor(proxy) as visitor,
    ):
        probe = visitor.get("/readyz")
        assert (probe.status, json.loads(probe.text)["checks"]["database"]) == (503, "no transactions")
        page = visitor.log_in(NAME, PASSWORD)
        assert page.status == 503 and SAID in page.text and HELPS in page.text
        told = visitor.api("POST", "/api/jobs", secret, JOB)
        assert (told.status, json.loads(told.text)["reason"]) == (503, "no_transactions")
        assert SAID in told.text and "Nothing was changed." in told.text
        assert told.headers["Retry-After"]
    assert "Traceback" not in console.web_log()
