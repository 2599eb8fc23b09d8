"""Tests of the console behind pgbouncer in transaction mode and nginx: pages, log-in, the API, a worker and a sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import psycopg
import pytest

from opsconsole_worker.database import door, search_path
from opsconsole_worker.database.direct import DirectDatabase
from opsconsole_worker.runs import heartbeats, lifecycle
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from tests.field.console import NAME, PASSWORD, Console
from tests.field.visitor import Answer, Visitor
from tests.programs import program
from tests.waiting import wait_until

# Debian's default.
POOL_SIZE = 20
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


def test_times_are_read_though_the_database_prints_them_otherwise(console: Console) -> None:
    console.database.sql(f"ALTER DATABASE \"{console.database.name}\" SET DateStyle = 'German'")
    # The pooler has to open new connections.
    console.database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert console.run("enqueue_jobs", "--customer", "c-1", "--package-size", "3").returncode == 0
    listed = console.run("recover_stale_jobs", "--dry-run")
    assert listed.returncode == 0, listed.stderr


def test_pages_answer_in_time_while_others_use_all_connections_of_the_pooler(console: Console) -> None:
    """The pooler would let them wait for 120 s (query_wait_timeout)."""
    secret, job = console.key("jobs:write"), {"customer_id": "c-1", "package_size": 3}
    with (
        console.served(OPSCONSOLE_PAGE_TIMEOUT_SECONDS="2") as proxy,
        Visitor(proxy) as visitor,
        ExitStack() as slow,
    ):
        assert visitor.log_in(NAME, PASSWORD).status == 302
        for _ in range(POOL_SIZE):
            client = psycopg.connect(console.environment["DATABASE_URL"], prepare_threshold=None)
            slow.enter_context(client).execute("SELECT 1")
        asked: dict[str, Callable[[], Answer]] = {
            "page": lambda: visitor.get("/admin/"),
            "API": lambda: visitor.api("POST", "/api/jobs", secret, job),
            "probe": lambda: visitor.get("/readyz"),
        }
        for what, ask in asked.items():
            begun = time.monotonic()
            answer = ask()
            assert (answer.status, time.monotonic() - begun < 20) == (503, True), f"{what}: {answer.status}"
        slow.close()
        wait_until(lambda: visitor.get("/admin/").status == 200, timeout=30)


# A worker's program that stops for good in the middle of its claim, as one whose host lost its network.
CLAIMS_AND_STOPS = """
import os, signal, sys, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None) as session:
    session.execute("UPDATE jobs SET status = 'in_progress' WHERE id = %s", [sys.argv[1]])
    print("claimed", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_rows_of_a_client_that_vanished_are_free_soon_and_others_go_on(console: Console) -> None:
    role = f'ALTER ROLE field_console IN DATABASE "{console.database.name}"'
    console.database.sql(f"{role} SET idle_in_transaction_session_timeout = '5s'")
    assert console.run("enqueue_jobs", "--customer", "c-1", "--package-size", "3").returncode == 0
    first = str(console.database.value("SELECT id FROM jobs"))
    vanished = program(
        [sys.executable, "-c", CLAIMS_AND_STOPS, first],
        env=os.environ | dict(console.environment),
        stdout=subprocess.PIPE,
        end_signal=signal.SIGKILL,
    )
    with vanished as process:
        assert process.stdout
        with process.stdout:
            assert process.stdout.readline() == b"claimed\n"
        assert console.run("enqueue_jobs", "--customer", "c-2", "--package-size", "3").returncode == 0
        with console.running("run_worker", "--handler", "tests.chaos.handlers.work") as log:
            assert console.run("dispatch_outbox").returncode == 0
            done = "SELECT count(*) FROM jobs WHERE status = 'completed' AND customer_id = 'c-2'"
            wait_until(lambda: console.database.value(done) == 1, timeout=60, what=str(log))
        free = f"SELECT count(*) FROM (SELECT FROM jobs WHERE id = '{first}' FOR NO KEY UPDATE SKIP LOCKED) AS row"
        wait_until(lambda: console.database.value(free) == 1, timeout=30)
    assert console.database.value(f"SELECT status FROM jobs WHERE id = '{first}'") != "in_progress"


def test_heartbeats_of_a_worker_leave_no_plan_in_the_sessions_of_the_pooler(console: Console) -> None:
    """Another client would meet it there, and its own connection would miss it."""
    worker = DirectDatabase(console.environment["DATABASE_URL"], "opsconsole")
    try:
        assert worker.run_often("SELECT %(number)s::int", {"number": 5}) == [(5,)]
        assert worker.session
        assert not search_path.serves_alone(worker.session)
        kept = worker.session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert kept == (0,)
    finally:
        worker.close()


def test_sessions_of_the_pooler_keep_the_plan_of_heartbeats_where_the_operator_says_so(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert console.run("enqueue_jobs", "--customer", "c-1", "--package-size", "3").returncode == 0
    url, plans = console.environment["DATABASE_URL"], "SELECT count(*) FROM pg_prepared_statements"
    ada, other = Worker("ada"), DirectDatabase(url, "opsconsole", shares_plans=True)
    worker = DirectDatabase(url, "opsconsole", shares_plans=True)
    monkeypatch.setattr(door, "_used", [worker])
    with ExitStack() as ends:
        ends.callback(worker.close)
        ends.callback(other.close)
        job = lifecycle.claim(console.database.value("SELECT id FROM jobs"), 1, ada)
        assert not isinstance(job, lifecycle.Refused)
        assert heartbeats.beat(ada, job.id, job.epoch) is Verdict.GO_ON
        assert worker.run(plans, {}) == [[(1,)]]
        # While somebody holds that session, the pooler opens another one, where nothing is prepared.
        holder = ends.enter_context(psycopg.connect(url, prepare_threshold=None))
        holder.execute("SELECT 1")
        assert worker.run(plans, {}) == [[(0,)]]
        for database in (worker, other):
            door.use(database)
            assert heartbeats.beat(ada, job.id, job.epoch) is Verdict.GO_ON
        assert worker.run(plans, {}) == [[(1,)]]
        assert lifecycle.complete(lifecycle.Run(job.id, job.epoch, ada))
        assert heartbeats.beat(ada, job.id, job.epoch) is Verdict.SUPERSEDED
