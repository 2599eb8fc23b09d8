"""Tests of a database that is read-only or away for a while: people are told, and everything goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psycopg

from tests.field.console import NAME, PASSWORD, RUNTIME, Console
from tests.field.visitor import Visitor
from tests.waiting import wait_until

PAGES = (
    "/admin/",
    "/admin/jobs/job/",
    "/admin/jobs/sweep/",
    "/admin/alerts/alert/",
    "/admin/opsconsole/pause/",
)
JOB = {"customer_id": "c-1", "package_size": 1}


@contextmanager
def read_only(console: Console) -> Iterator[None]:
    """Make the console's database refuse changes, as a standby or a provider whose disk is full does."""
    name = console.database.name
    with psycopg.connect(**console.database.server, dbname="postgres", autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        _end_sessions(server, name)
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            _end_sessions(server, name)


@contextmanager
def away(console: Console) -> Iterator[None]:
    """Let the server refuse all connections to the console's database."""
    name = console.database.name
    with psycopg.connect(**console.database.server, dbname="postgres", autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        _end_sessions(server, name)
        try:
            yield
        finally:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def _end_sessions(server: psycopg.Connection, name: str) -> None:
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def test_people_can_look_and_are_told(console: Console, visitor: Visitor) -> None:
    key = console.key("jobs:write")
    assert visitor.log_in(NAME, PASSWORD).status == 302
    assert "read-only" not in visitor.get("/admin/").text
    with read_only(console):
        wait_until(lambda: "The database is read-only." in visitor.get("/admin/").text, timeout=20)
        for page in PAGES:
            answer = visitor.get(page)
            assert answer.status == 200, (page, answer.text[:500])
            assert "The database is read-only." in answer.text
        probe = visitor.get("/readyz")
        assert (probe.status, probe.json()["checks"]["database"]) == (503, "read only")
        refused = visitor.api("POST", "/api/jobs", key, JOB)
        assert (refused.status, refused.json()["reason"]) == (503, "read_only")
        assert int(refused.headers["Retry-After"]) > 0
        with Visitor(visitor.proxy) as stranger:
            answer = stranger.log_in(NAME, PASSWORD)
            assert answer.status == 503 and "The database is read-only." in answer.text
            assert int(answer.headers["Retry-After"]) > 0
    wait_until(lambda: visitor.api("POST", "/api/jobs", key, JOB).status == 201, timeout=20)
    wait_until(lambda: "The database is read-only." not in visitor.get("/admin/").text, timeout=20)
    assert visitor.get("/readyz").json()["checks"]["database"] == "ok"


def test_outage_is_told_on_pages_and_in_the_api(console: Console) -> None:
    """Without the pooler, which lets a request wait for two minutes before it tells that the server is away."""
    key = console.key("jobs:write")
    direct = console.database.url(user=RUNTIME)
    with console.served(DATABASE_URL=direct) as proxy, Visitor(proxy) as visitor:
        assert visitor.log_in(NAME, PASSWORD).status == 302
        assert visitor.api("POST", "/api/jobs", key, JOB).status == 201
        with away(console):
            wait_until(lambda: visitor.get("/admin/").status == 503, timeout=20)
            for answer in (visitor.get("/admin/jobs/job/"), visitor.get("/api/queue/c-1")):
                assert answer.status == 503 and "The database does not answer." in answer.text
                assert int(answer.headers["Retry-After"]) > 0
            assert visitor.api("POST", "/api/jobs", key, JOB).status == 503
            assert visitor.get("/healthz").status == 200
            probe = visitor.get("/readyz")
            assert (probe.status, probe.json()["checks"]["database"]) == (503, "away")
        wait_until(lambda: visitor.get("/admin/").status == 200, timeout=20)


def test_worker_and_sweep_wait_and_go_on(console: Console) -> None:
    database = console.database
    with ExitStack() as programs:
        with read_only(console):
            worker = programs.enter_context(
                console.running("run_worker", "--handler", "tests.chaos.handlers.work")
            )
            sweep = programs.enter_context(
                console.running("recover_stale_jobs", "--loop", "--interval", "600")
            )
            for log in (worker, sweep):
                wait_until(partial(_is_told, log), timeout=60, what=str(log))
            assert database.value("SELECT count(*) FROM sweeps") == 0
        wait_until(lambda: database.value("SELECT count(*) FROM sweeps"), timeout=30, what=str(sweep))
        for command in (("enqueue_jobs", "--customer", "c-1", "--package-size", "1"), ("dispatch_outbox",)):
            assert console.run(*command).returncode == 0
        wait_until(
            lambda: database.value("SELECT status FROM jobs") == "completed", timeout=30, what=str(worker)
        )


def test_cluster_goes_on(console: Console) -> None:
    database = console.database
    with console.running("run_cluster") as log:
        wait_until(
            lambda: database.value("SELECT count(*) FROM cluster_progress WHERE probe > 0"), timeout=60
        )
        with read_only(console):
            wait_until(
                lambda: "whether the cluster works is unknown" in log.read_text(), timeout=20, what=str(log)
            )
        probe = database.value("SELECT max(probe) FROM cluster_progress")
        # A task that comes through the cluster after that.
        wait_until(
            lambda: database.value("SELECT max(probe) FROM cluster_progress") > probe,
            timeout=60,
            what=str(log),
        )


def _is_told(log: Path) -> bool:
    return "The database is read-only, trying again" in log.read_text()


def test_session_that_the_server_ended_is_told_as_a_state_of_the_database(console: Console) -> None:
    """A time limit for whole transactions ends the session, with an error that drivers count among their internal ones."""
    key = console.key("jobs:write")
    name = console.database.name
    with psycopg.connect(**console.database.server, dbname="postgres", autocommit=True) as server:
        server.execute(f"ALTER DATABASE \"{name}\" SET transaction_timeout = '700ms'")
    direct = console.database.url(user=RUNTIME)
    with console.served(DATABASE_URL=direct) as proxy, Visitor(proxy) as visitor:
        with console.database.connect() as other:
            other.execute("SET transaction_timeout = 0; BEGIN; LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE")
            refused = visitor.api("POST", "/api/jobs", key, JOB)
            told = console.run(
                "enqueue_jobs", "--customer", "c-1", "--package-size", "1", DATABASE_URL=direct
            )
        assert (refused.status, refused.json()["reason"]) == (503, "too_slow")
        assert told.returncode == 3 and "Traceback" not in told.stderr
        assert "\nThe database cancelled a statement that took too long: " in told.stderr
        assert visitor.api("POST", "/api/jobs", key, JOB).status == 201
