"""``verify`` on an installation: green behind a pooler and a TLS proxy; then each thing is broken, and it says so."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psycopg
import pytest
import redis
from django.db import connections
from psycopg import sql

from opsconsole.embedded import start_valkey
from opsconsole.seals import sealer
from opsconsole.verification import table
from tests.conftest import TestQueue
from tests.databases import Database
from tests.field.conftest import roles
from tests.field.console import RUNTIME, Console
from tests.field.sqs_gate import Gate, gate
from tests.serving import free_port, gunicorn
from tests.waiting import wait_until

Answers = dict[str, dict[str, str]]
TWO_WEEKS = "1209600"
BROKEN = """
DELETE FROM django_q_schedule WHERE name = 'opsconsole: seals';
UPDATE auth_user SET is_active = false;
INSERT INTO rate_limit_troubles (kind, process, detail) VALUES ('untrusted proxy', 'web-1:7', '10.9.8.7');
ALTER TABLE django_admin_log DISABLE TRIGGER ALL;
UPDATE django_admin_log SET change_message = 'nothing happened';
ALTER TABLE django_admin_log ENABLE TRIGGER ALL;
INSERT INTO jobs (customer_id, package_size, queue) VALUES ('c-1', 1, 'gone');
INSERT INTO outbox (job_id, run_epoch, queue, available_at) SELECT id, 1, 'gone', now() - interval '1 hour' FROM jobs;
CREATE FUNCTION public.theirs() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.status = 'completed' THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER theirs BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION public.theirs();
"""


@contextmanager
def receiver() -> Iterator[str]:
    """Accept every message of a channel; yield the channel's address."""

    class Accepts(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Accepts)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def verify(console: Console, *arguments: str, **environment: str) -> tuple[int, Answers]:
    done = console.run("verify", "--json", *arguments, **environment)
    assert done.stdout, done.stderr
    return done.returncode, {each["check"]: each for each in json.loads(done.stdout)}


# Where everything else is broken. A transaction that is old enough to do harm takes a quarter of an hour: tests/jobs/watch has it.
NOT_BROKEN = {"database", "migrations", "limit", "dead-rows"}


def not_ok(answers: Answers) -> dict[str, str]:
    return {
        name: f"{each['verdict']}: {each['answer']}"
        for name, each in answers.items()
        if each["verdict"] != "ok"
    }


def verdicts(answers: Answers, word: str) -> set[str]:
    return {name for name, each in answers.items() if each["verdict"] == word}


@pytest.fixture
def aside(sqs_queue: TestQueue) -> Iterator[str]:
    """Create the queue for probes, and let dead letters live for longer than messages."""
    sqs_queue.client.set_queue_attributes(
        QueueUrl=sqs_queue.dlq_url, Attributes={"MessageRetentionPeriod": TWO_WEEKS}
    )
    url = sqs_queue.client.create_queue(QueueName=f"probe-{secrets.token_hex(6)}")["QueueUrl"]
    yield url
    sqs_queue.client.delete_queue(QueueUrl=url)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[redis.Redis]:
    with start_valkey(tmp_path / "valkey") as service, redis.Redis.from_url(service.url) as client:
        client.config_set("appendonly", "yes")
        yield client


@pytest.fixture
def door(sqs_queue: TestQueue) -> Iterator[Gate]:
    with gate(sqs_queue.client.meta.endpoint_url) as opened:
        yield opened


def test_verify_is_green_and_then_names_whatever_is_broken(
    console: Console, sqs_queue: TestQueue, aside: str, valkey: redis.Redis, door: Gate, tmp_path: Path
) -> None:
    socket = valkey.connection_pool.connection_kwargs["path"]
    with ExitStack() as stack:
        channel = stack.enter_context(receiver())
        environment: Mapping[str, str] = {
            "OPSCONSOLE_SECRET_KEY": secrets.token_urlsafe(48),
            "OPSCONSOLE_API_KEY_PEPPERS": secrets.token_urlsafe(48),
            "OPSCONSOLE_ALERT_CHANNELS": json.dumps({"team": channel}),
            "OPSCONSOLE_PROBE_QUEUE_URL": aside,
            # Served by loops, which need not wait for the minute of a schedule.
            "OPSCONSOLE_SWEEP_INTERVAL_SECONDS": "5",
            "OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS": "5",
            "CACHE_URL": f"unix://{socket}",
            "AWS_ENDPOINT_URL": door.address,
        }
        # A copy of a database has no defaults of roles, which migrate gives. It doesn't go through the pooler, which would keep the
        # sessions from before: their turn may come at any time.
        done = console.run("migrate", "-v0", **environment, **roles(console.database))
        assert done.returncode == 0, done.stderr
        done = console.run("sync_schedules", **environment)
        assert done.returncode == 0, done.stderr
        proxy = stack.enter_context(console.served(serve=gunicorn, **environment))
        environment = {
            **environment,
            "OPSCONSOLE_PUBLIC_URL": proxy.address,
            "REQUESTS_CA_BUNDLE": str(proxy.certificate),
        }
        with console.running("run_cluster", **environment):
            wait_until(lambda: _works(console.database), timeout=120, what="a cluster that works")
            code, answers = verify(console, "--probe-letter", **environment)
            assert not_ok(answers).keys() == {"single-sign-on"}, not_ok(answers)
            assert (verdicts(answers, "skipped"), code) == ({"single-sign-on"}, 0)
            assert list(answers) == table.names()
            done = console.run("verify", "--only", "migrations", **environment)
            assert done.stdout.startswith("ok       migrations     "), done.stderr

        seal(console.database)
        console.database.sql(BROKEN)
        sessions(console.database, "lock_timeout", "0")
        console.database.sql(f"REVOKE UPDATE ON pauses FROM {RUNTIME}")
        console.database.sql(
            "INSERT INTO pauses (name, began_by, reason) VALUES ('dead letter checks', 'ada', 'hers')"
        )
        valkey.config_set("maxmemory-policy", "allkeys-lru")
        door.denied = {("SendMessageBatch", "-dlq")}
        door.clock = timedelta(minutes=10)
        elsewhere = {
            **environment,
            "DATABASE_URL": console.database.url(user=RUNTIME),
            "OPSCONSOLE_ALLOWED_HOSTS": "*",
            "OPSCONSOLE_PUBLIC_URL": f"https://localhost:{free_port()}",
            "OPSCONSOLE_ALERT_CHANNELS": json.dumps({"team": f"json://127.0.0.1:{free_port()}/"}),
            "OPSCONSOLE_PROBE_QUEUE_URL": sqs_queue.url,
            "OPSCONSOLE_QUEUES": json.dumps({"none": {"url": f"{sqs_queue.url}-none"}}),
            "OPSCONSOLE_OIDC_ISSUER": f"https://localhost:{free_port()}",
            "OPSCONSOLE_OIDC_CLIENT_ID": "console",
            "OPSCONSOLE_OIDC_ROLES": json.dumps({"ops": ["Operator"]}),
        }
        code, answers = verify(console, "--probe-letter", **elsewhere)
        assert code == 1
        # Nobody else reads dead letters during a pause.
        unjudged = {"letter"}
        assert verdicts(answers, "unknown") == unjudged, not_ok(answers)
        assert verdicts(answers, "ok") == NOT_BROKEN, not_ok(answers)
        assert verdicts(answers, "wrong") == set(table.names()) - unjudged - NOT_BROKEN
        assert all(each["action"] for each in answers.values() if each["verdict"] != "ok")
        assert "lock_timeout is 0" in answers["sessions"]["answer"]
        assert "UPDATE" in answers["grants"]["answer"]
        assert "10.9.8.7" in answers["proxies"]["answer"]
        assert "The clock of SQS is " in answers["clocks"]["answer"]

        assert f"sqs:SendMessage is denied on {sqs_queue.dlq_url}" in answers["permissions"]["answer"]

        console.database.sql(
            "DELETE FROM django_migrations WHERE app = 'opsconsole' AND name = '0010_verifications'"
        )
        code, answers = verify(console, "--only", "migrations", **environment)
        assert (code, answers["migrations"]["verdict"]) == (1, "wrong")
        assert "opsconsole.0010_verifications" in answers["migrations"]["answer"]

    away = {
        **environment,
        "DATABASE_URL": f"postgres://nobody@127.0.0.1:{free_port()}/none",
        "CACHE_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    code, answers = verify(console, "--no-channels", **away)
    assert code == 1
    assert {"database", "store", "limit", "web"} <= verdicts(answers, "wrong"), not_ok(answers)
    assert {"queues", "permissions"} & verdicts(answers, "ok") == {"queues"}
    assert "migrations" in verdicts(answers, "unknown")
    assert list(answers) == table.names()


def _works(database: Database) -> bool:
    """Tell whether a task came through the cluster, and a sweep and a check have ended."""
    [(through, monitors)] = database.sql(
        "SELECT (SELECT count(*) FROM cluster_progress WHERE probe > 0), (SELECT count(*) FROM alert_monitors)"
    )
    return bool(through and monitors >= 2)


def seal(database: Database) -> None:
    with database.as_default():
        connections["default"].settings_dict["USER"] = RUNTIME
        sealer.seal()


def sessions(database: Database, name: str, value: str) -> None:
    with psycopg.connect(**database.server, dbname="postgres", autocommit=True) as server:
        names = [sql.Identifier(each) for each in (RUNTIME, database.name, name)]
        server.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(*names, sql.Literal(value)))
