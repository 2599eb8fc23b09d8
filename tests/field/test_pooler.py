"""Tests of the console behind pgbouncer in transaction mode and nginx: pages, log-in, the API, a worker and a sweep."""

from __future__ import annotations

from tests.field.console import NAME, PASSWORD, Console
from tests.field.visitor import Visitor
from tests.waiting import wait_until

PAGES = ("/admin/", "/admin/jobs/job/", "/admin/jobs/sweep/", "/admin/jobs/workerheartbeat/", "/api/docs")


def test_person_logs_in_and_reads_pages(visitor: Visitor) -> None:
    assert visitor.get("/healthz").status == 200
    assert visitor.log_in(NAME, PASSWORD).status == 302
    kept = visitor.socket
    for page in PAGES:
        answer = visitor.get(page)
        assert answer.status == 200, f"{page}: {answer.status}"
        assert "Ops console" in answer.text
    assert visitor.socket is kept


def test_worker_and_sweep_do_their_work(console: Console) -> None:
    done = console.run("enqueue_jobs", "--customer", "c-1", "--package-size", "3")
    assert done.returncode == 0, done.stderr
    assert console.run("dispatch_outbox").returncode == 0
    with console.running("run_worker", "--handler", "tests.chaos.handlers.work") as log:
        wait_until(
            lambda: console.database.value("SELECT status FROM jobs") == "completed",
            timeout=60,
            what=str(log),
        )
    swept = console.run("recover_stale_jobs")
    assert swept.returncode == 0, swept.stderr
    assert console.database.value("SELECT count(*) FROM sweeps") == 1
