"""Jobs with texts as ids, such as no path can hold, worked on over the API by both workers and shown to a program."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

import pytest

from tests.attach.mapped import mapped
from tests.attach.test_operators_api import KINDS, TABLE
from tests.clients.node import HERE, PACKAGE, make
from tests.conftest import TestQueue
from tests.field import pooler
from tests.field.conftest import production
from tests.field.console import NAME, PASSWORD, Console
from tests.field.installed import installed
from tests.field.visitor import Visitor
from tests.programs import program
from tests.repository import REPOSITORY
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pytest_django.plugin import DjangoDbBlocker

# They end like other addresses, look like folders, and have what ends a path or a line.
IDS = [
    "4711/payload",
    "4711/requeue",
    "4711/percent",
    "4711",
    "..",
    ".",
    "/",
    "x/../y",
    "-",
    "a b?#%2F+&",
    "é\nf",
    "\\",
]
SUPERUSER = "postgres"
MAPPING = """
[jobs]
id_type = "text"
"""
HANDLER = """
def submit(run):
    run.note("begun")
    run.progress(40, "maps")
    return {"by": "Python"}
"""
ROWS = """
from tests import people
from tests.keys import key
print(key("workers", ["worker"])[1])
print(key("deploys", ["jobs:read", "jobs:operate", "payloads:read"], maker=people.operator())[1])
"""


@pytest.fixture
def console(
    sqs_queue: TestQueue,
    static_folder: Path,
    tmp_path: Path,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Console]:
    for name in ("nginx", "pgbouncer"):
        installed(name)
    make("clients")
    with (
        django_db_blocker.unblock(),
        mapped(tmp_path, MAPPING, TABLE.format(id=KINDS["text"][0])) as there,
        pooler.pgbouncer(tmp_path, server=there.database.server["host"], roles=(SUPERUSER,)) as port,
    ):
        reached = {
            "DATABASE_URL": pooler.url(port, SUPERUSER, there.database.name),
            "OPSCONSOLE_MAPPING": str(there.file),
            "SQS_QUEUE_URL": sqs_queue.url,
            "SQS_DLQ_URL": sqs_queue.dlq_url,
        }
        yield Console(tmp_path, there.database, production(static_folder) | reached)


def test_every_id_is_worked_on_and_shown(console: Console, sqs_queue: TestQueue, tmp_path: Path) -> None:
    console.database.sql(
        "INSERT INTO jobs (id, customer_id, package_size) VALUES "
        + ", ".join(f"({literal}, 'c', 5)" for literal in map(_literal, IDS))
    )
    made = console.run("shell", "-v0", "-c", ROWS)
    assert made.returncode == 0, made.stderr
    worker_key, operator_key = made.stdout.split()
    half = len(IDS) // 2

    with console.served("--workers", "2") as proxy:
        reached = {
            "OPSCONSOLE_URL": proxy.address,
            "OPSCONSOLE_KEY": worker_key,
            "OPSCONSOLE_MAPPING": console.environment["OPSCONSOLE_MAPPING"],
            "SSL_CERT_FILE": str(proxy.certificate),
            "NODE_EXTRA_CA_CERTS": str(proxy.certificate),
            "SQS_QUEUE_URL": sqs_queue.url,
            "QUEUE_URL": sqs_queue.url,
            "SQS_DLQ_URL": sqs_queue.dlq_url,
        }
        for start, ids in ((in_python, IDS[:half]), (in_node, IDS[half:])):
            for each in ids:
                sqs_queue.client.send_message(QueueUrl=sqs_queue.url, MessageBody=_message(each))
            with start(tmp_path, reached) as log:
                wait_until(partial(_are_completed, console, len(ids)), 60, what=str(log))
            console.database.sql("UPDATE jobs SET status = 'failed' WHERE status = 'completed'")
        assert _count(console, "failed") == len(IDS)
        [[reports]] = console.database.sql("SELECT count(*) FROM run_progress WHERE percent >= 40")
        assert reports == len(IDS)

        with Visitor(proxy) as visitor:
            _requeue_each(visitor, operator_key)


def _requeue_each(visitor: Visitor, key: str) -> None:
    for each in IDS:
        query = f"?job_id={quote(each, safe='')}"
        shown = visitor.api("GET", f"/api/operator/jobs/-{query}", key)
        assert (shown.status, shown.json()["job"]["id"]) == (200, each), shown.text
        payload = visitor.api("GET", f"/api/operator/jobs/-/payload{query}", key)
        assert json.loads(payload.json()["payload"]) == {}, payload.text
        change = {"reason": "the tests", "version": shown.json()["job"]["version"]}
        done = visitor.api("POST", f"/api/operator/jobs/-/requeue{query}", key, change)
        assert (done.status, done.json()["job"]["run"]) == (200, 2), done.text
    missing = visitor.api("GET", "/api/operator/jobs/-?job_id=4711%2Fnothing", key)
    assert (missing.status, missing.json()["reason"]) == (404, "unknown_job")
    assert visitor.api("GET", "/api/operator/jobs/-?job_id=", key).status == 404
    described = visitor.get("/api/openapi.json").json()["paths"]
    of_jobs = [each for path, methods in described.items() if "{job_id}" in path for each in methods.values()]
    assert len(of_jobs) > 10
    assert all("query" in {named["in"] for named in each["parameters"]} for each in of_jobs)


def test_links_of_a_job_page_are_opened_as_browsers_follow_them(console: Console) -> None:
    rows = ", ".join(f"({literal}, 'c', 5, 'failed')" for literal in map(_literal, IDS))
    console.database.sql(f"INSERT INTO jobs (id, customer_id, package_size, status) VALUES {rows}")
    console.database.sql("UPDATE jobs SET payload = jsonb_build_object('of', id, 'long', repeat('x', 30000))")
    user = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    made = console.run("createsuperuser", "--noinput", "--username", NAME, "--email", "", **user)
    assert made.returncode == 0, made.stderr

    with console.served() as proxy, Visitor(proxy) as visitor:
        visitor.log_in(NAME, PASSWORD)
        pages = _links(visitor, "/admin/jobs/job/", "/change/")
        assert len(pages) == len(IDS)
        for page in pages:
            editors, whole = _links(visitor, page, "/payload/"), _links(visitor, page, "/whole/payload/")
            assert (len(editors), len(whole)) == (2, 1), (page, editors)
            answer = visitor.get(whole[0])
            assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain"), whole
            shown = visitor.get(min(editors, key=len))
            assert (shown.status, "<h1>Edit payload</h1>" in shown.text) == (200, True), editors
            assert html.escape(json.dumps(json.loads(answer.body)["of"], ensure_ascii=False)) in shown.text


def _links(visitor: Visitor, page: str, end: str) -> list[str]:
    """Return the links of a page with this end, as a browser asks for them."""
    found = re.findall(r'href="(/admin/jobs/job/[^"?]+)"', visitor.get(page).text)
    asked = {urljoin(visitor.proxy.address + page, html.unescape(link)) for link in found}
    return sorted(
        {link.removeprefix(visitor.proxy.address) for link in asked if link.partition("?")[0].endswith(end)}
    )


@contextmanager
def in_python(folder: Path, reached: dict[str, str]) -> Iterator[Path]:
    (folder / "shop.py").write_text(HANDLER)
    paths = f"{folder}:{REPOSITORY / 'clients' / 'python' / 'src'}"
    command = [sys.executable, "-m", "opsconsole_worker", "--http", "--handler", "shop.submit"]
    with _running(folder, command, reached | {"PYTHONPATH": paths}) as log:
        yield log


@contextmanager
def in_node(folder: Path, reached: dict[str, str]) -> Iterator[Path]:
    command = [installed("nodejs"), str(HERE / "worker.mjs")]
    with _running(folder, command, reached | {"PACKAGE": str(PACKAGE / "dist" / "index.js")}) as log:
        yield log


@contextmanager
def _running(folder: Path, command: list[str], environ: dict[str, str]) -> Iterator[Path]:
    log = folder / "worker.log"
    with (
        log.open("ab") as output,
        program(
            command,
            cwd=folder,
            env=os.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            end_signal=signal.SIGTERM,
        ),
    ):
        yield log


def _are_completed(console: Console, number: int) -> bool:
    return _count(console, "completed") == number


def _count(console: Console, status: str) -> int:
    [[count]] = console.database.sql(f"SELECT count(*) FROM jobs WHERE status = {_literal(status)}")
    return int(count)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _message(job_id: str) -> str:
    return json.dumps(
        {"job_id": job_id, "customer_id": "c", "package_size": 5, "priority": "starter", "retry": False}
    )
