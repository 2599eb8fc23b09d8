"""Tests of a database whose schema is missing or older than the code: everybody is told, waits, and goes on by itself."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.field.console import NAME, PASSWORD, Console
from tests.field.visitor import Visitor
from tests.waiting import wait_until

SENTENCE = "The database is not yet migrated to this version of the console"
PATHS = ("/api/queue/c-1", "/admin/", "/admin/login/", "/api/openapi.json", "/api/docs", "/")


@pytest.mark.parametrize("template", ["template0"])
def test_everybody_waits_for_the_first_migration(console: Console) -> None:
    statuses: Counter[int] = Counter()
    database = console.database
    with ExitStack() as programs:
        worker = programs.enter_context(
            console.running("run_worker", "--handler", "tests.chaos.handlers.work")
        )
        sweep = programs.enter_context(console.running("recover_stale_jobs", "--loop", "--interval", "600"))
        cluster = programs.enter_context(console.running("run_cluster"))
        visitor = programs.enter_context(Visitor(programs.enter_context(console.served())))
        for path in PATHS:
            answer = visitor.get(path)
            assert answer.status == 503 and SENTENCE in answer.text, path
            assert int(answer.headers["Retry-After"]) > 0
            statuses[answer.status] += 1
        probe = visitor.get("/readyz")
        assert (probe.status, probe.json()["checks"]["database"]) == (503, "not migrated")
        for log in (worker, sweep, cluster):
            wait_until(partial(_is_told, log), timeout=60, what=str(log))

        checked = console.run("check")
        assert "W013" in checked.stderr, checked.stderr
        assert "migrations not applied: " in checked.stderr and "HINT: Run migrate" in checked.stderr

        programs.enter_context(console.running("migrate", "-v0"))
        while statuses[200] < 50:
            answer = visitor.get(PATHS[sum(statuses.values()) % len(PATHS)])
            statuses[answer.status] += 1
            assert answer.status in {200, 301, 302, 429, 503}, answer.text
        assert visitor.get("/readyz").json()["checks"]["database"] == "ok"
        assert "W013" not in console.run("check").stderr
        wait_until(lambda: database.value("SELECT count(*) FROM sweeps"), timeout=30, what=str(sweep))
        assert console.run("enqueue_jobs", "--customer", "c-1", "--package-size", "1").returncode == 0
        wait_until(
            lambda: database.value("SELECT status FROM jobs") == "completed",
            timeout=60,
            what=f"{worker} {cluster}",
        )


def test_older_schema_is_no_error_of_a_page(console: Console) -> None:
    """Take a column away under running processes: an update that begins with the code lacks its new columns."""
    database = console.database
    database.sql("INSERT INTO jobs (customer_id, package_size) VALUES ('c-1', 3)")
    with console.served() as proxy, Visitor(proxy) as visitor:
        assert visitor.log_in(NAME, PASSWORD).status == 302
        assert visitor.get("/admin/jobs/job/").status == 200
        database.sql("ALTER TABLE jobs RENAME COLUMN status TO later")
        database.sql("DELETE FROM django_migrations WHERE app = 'jobs' AND name LIKE '0006%'")
        answer = visitor.get("/admin/jobs/job/")
        assert answer.status == 503 and SENTENCE in answer.text
        database.sql("ALTER TABLE jobs RENAME COLUMN later TO status")
        database.sql(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('jobs', '0006_functions_and_triggers', now())"
        )
        wait_until(lambda: visitor.get("/admin/jobs/job/").status == 200)


def _is_told(log: Path) -> bool:
    return SENTENCE in log.read_text()
