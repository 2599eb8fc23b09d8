"""Tests of a connection to PostgreSQL that breaks between a change and its answer: nobody is told that nothing happened (I14)."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import pytest
from django.conf import settings as console
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client

from jobs.models import DeadLetter, Job, RecoveryControl, Status
from opsconsole.kit import audit
from opsconsole.kit.models import Pause
from ratelimits.models import ApiKey
from tests import factories, people, presets
from tests.chaos import cuts
from tests.chaos.cuts import CuttingProxy
from tests.conftest import TestQueue
from tests.keys import key
from tests.repository import REPOSITORY
from tests.serving import answers, gunicorn
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

JOB = {"customer_id": "TEST-001", "package_size": 50}
JOB_COMMITS = (b'INSERT INTO "jobs"', b"COMMIT\0")
URL = "http://127.0.0.1:1/000000000000/jobs"
# A command that waits for two seconds, where it usually waits for some minutes, and says so after one.
HASTY = """
import sys
from opsconsole.command_line import main
from opsconsole.kit import answer_limit
sys.argv[0], answer_limit.MARGIN_SECONDS, answer_limit.TELL_AFTER_SECONDS = "manage.py", 2.0 - {usually}, 1.0
main()
"""


@pytest.fixture(scope="module")
def one_proxy() -> Iterator[CuttingProxy]:
    with cuts.to_database() as made:
        yield made


@pytest.fixture
def proxy(one_proxy: CuttingProxy) -> Iterator[CuttingProxy]:
    """Return a proxy that has cut nothing. It is the one of all tests here, because they share a server behind it."""
    one_proxy.cuts = 0
    yield one_proxy
    one_proxy.forget()


class Server:
    """The served console, and an HTTP client that keeps its session."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, Any, str]:
        """Send a request; return status, headers and body of the response."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        client.request(method, path, body or None, {"Cookie": cookies} | headers)
        response = client.getresponse()
        text = response.read().decode()
        client.close()
        return response.status, response.headers, text

    def post_job(self, secret: str, idempotency_key: str = "") -> tuple[int, Any, Any]:
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        status, told, text = self.ask("POST", "/api/jobs", json.dumps(JOB), **headers)
        return status, told, json.loads(text)

    def post_form(self, page: str, action: str, **fields: str) -> tuple[int, str]:
        """Open a page as a browser does, and submit its form with these fields."""
        status, headers, text = self.ask("GET", page)
        assert status == 200, text
        self.cookies |= dict(re.findall(r"((?:__Host-)?csrftoken)=(\w+)", str(headers)))
        named = r'name="(csrfmiddlewaretoken|plan|(?:[\w-]+-)?version)" value="([^"]+)"'
        hidden = dict(re.findall(named, text))
        status, _, text = self.ask(
            "POST",
            action,
            urlencode(hidden | fields),
            **{"Content-Type": "application/x-www-form-urlencoded"},
        )
        return status, text


def url_of(proxy: CuttingProxy) -> str:
    of = connection.settings_dict
    return f"postgres://{quote(of['USER'] or '', safe='')}@127.0.0.1:{proxy.port}/{of['NAME']}"


def run(
    proxy: CuttingProxy, *words: str, program: Sequence[str] = ("manage.py",), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its database behind the proxy."""
    return subprocess.run(
        [sys.executable, *program, *words],
        cwd=REPOSITORY,
        env=os.environ | {"DATABASE_URL": url_of(proxy), "SQS_QUEUE_URL": URL} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def served(
    one_proxy: CuttingProxy, tmp_path_factory: pytest.TempPathFactory, django_db_setup: None
) -> Iterator[tuple[psutil.Process, int]]:
    """Serve the console with one process; yield its parent, which has loaded the console, and the port."""
    folder = tmp_path_factory.mktemp("lost-answers")
    urls = {"DATABASE_URL": url_of(one_proxy), "SQS_QUEUE_URL": URL}
    options = ("--workers", "1", "--threads", "1", "--pid", str(folder / "pid"))
    with gunicorn(folder, *options, **urls) as port:
        yield psutil.Process(int((folder / "pid").read_text())), port


@pytest.fixture
def server(served: tuple[psutil.Process, int], proxy: CuttingProxy, limiter: None) -> Server:
    """Start the server's process anew: it remembers nothing of another test."""
    parent, port = served
    presets.write()
    RecoveryControl.objects.get_or_create(pk=1)
    earlier = parent.children()
    parent.send_signal(signal.SIGHUP)
    wait_until(lambda: not any(map(psutil.Process.is_running, earlier)) and answers(port), 60)
    return Server(port)


def log_in(server: Server) -> None:
    browser = Client()
    browser.force_login(people.operator())
    server.cookies[console.SESSION_COOKIE_NAME] = browser.cookies[console.SESSION_COOKIE_NAME].value


@pytest.mark.parametrize("answer", [True, False], ids=["the commit's answer is lost", "the commit is lost"])
def test_job_with_idempotency_key_is_created_once(server: Server, proxy: CuttingProxy, answer: bool) -> None:
    _, secret = key()
    proxy.cut(JOB_COMMITS, answer=answer)

    status, headers, problem = server.post_job(secret, "order-4711")

    assert proxy.cuts == 1
    assert (status, problem["outcome"], headers["Retry-After"]) == (503, "unknown", "5")
    assert "the same Idempotency-Key" in problem["detail"]
    assert "othing was changed" not in problem["detail"]
    assert Job.objects.count() == int(answer)

    status, headers, job = server.post_job(secret, "order-4711")

    assert status == 201
    assert headers["Idempotent-Replayed"] == ("true" if answer else None)
    assert [str(pk) for pk in Job.objects.values_list("pk", flat=True)] == [job["id"]]


def test_job_is_doubted_where_the_server_stays_away(server: Server, proxy: CuttingProxy) -> None:
    """A server that was killed answers no new connection either: that error must not hide the first one."""
    _, secret = key()
    proxy.cut(JOB_COMMITS, answer=True, away=True)

    status, headers, problem = server.post_job(secret)

    assert (status, problem["outcome"], headers["Retry-After"]) == (503, "unknown", None)
    assert "Whether it was saved is unknown" in problem["detail"]
    assert Job.objects.count() == 1
    proxy.come_back()
    proxy.cut((b'INSERT INTO "jobs"',), answer=False, away=True)
    status, _, problem = server.post_job(secret)
    assert (status, problem["detail"]) == (
        503,
        "The database does not answer. Nothing was changed. Try again.",
    )


def test_job_without_idempotency_key_is_not_to_be_repeated_blindly(
    server: Server, proxy: CuttingProxy
) -> None:
    _, secret = key()
    proxy.cut(JOB_COMMITS, answer=True)

    status, headers, problem = server.post_job(secret)

    assert (status, problem["outcome"], headers["Retry-After"]) == (503, "unknown", None)
    assert "Whether it was saved is unknown" in problem["detail"]
    assert "A request with an Idempotency-Key can be repeated safely" in problem["detail"]
    assert Job.objects.count() == 1


def test_connection_lost_after_commit_is_no_promise_either(server: Server, proxy: CuttingProxy) -> None:
    """The job is saved, and the connection breaks while it is read back for the answer."""
    _, secret = key()
    proxy.cut((*JOB_COMMITS, b"SELECT"), answer=False)

    status, _, problem = server.post_job(secret)

    assert (status, problem["outcome"]) == (503, "unknown")
    assert Job.objects.count() == 1


def test_connection_lost_before_commit_changed_nothing(server: Server, proxy: CuttingProxy) -> None:
    _, secret = key()
    proxy.cut((b'INSERT INTO "jobs"',), answer=False)

    status, headers, problem = server.post_job(secret)

    assert (status, headers["Retry-After"]) == (503, "5")
    assert problem["detail"] == "The database does not answer. Nothing was changed. Try again."
    assert not Job.objects.exists()
    assert server.post_job(secret)[0] == 201


def test_worker_is_told_that_its_report_can_be_repeated(server: Server, proxy: CuttingProxy) -> None:
    _, secret = key()
    job = factories.run(silent=factories.SECOND)
    report = json.dumps({"worker_id": "worker-1", "run_epoch": 1})
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    note = json.dumps({"worker_id": "worker-1", "run_epoch": 1, "note": "submitted to maps"})
    proxy.cut((b"INSERT INTO job_events",), answer=True)
    status, _, text = server.ask("POST", f"/api/jobs/{job.pk}/progress", note, **headers)
    assert (status, json.loads(text)["outcome"]) == (503, "unknown")
    assert "Repeat the request: the note may then stand twice" in json.loads(text)["detail"]

    # The report is one round trip without a COMMIT of its own.
    proxy.cut((b"UPDATE jobs",), answer=True)

    status, _, text = server.ask("POST", f"/api/jobs/{job.pk}/complete", report, **headers)
    assert (status, json.loads(text)["outcome"]) == (503, "unknown")
    assert "a report counts once" in json.loads(text)["detail"]

    status, _, text = server.ask("POST", f"/api/jobs/{job.pk}/complete", report, **headers)
    assert status == 200, text
    job.refresh_from_db()
    assert job.status == Status.COMPLETED


def test_claim_whose_answer_is_lost_finds_its_run_again(server: Server, proxy: CuttingProxy) -> None:
    _, secret = key()
    job = factories.job(payload={"site": "example.org"})
    claim = {"worker_id": "worker-1", "run_epoch": 1}
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def ask(**more: object) -> tuple[int, Any]:
        path = f"/api/jobs/{job.pk}/claim"
        status, _, text = server.ask("POST", path, json.dumps(claim | more), **headers)
        return status, json.loads(text)

    # The claim is one round trip without a COMMIT of its own.
    proxy.cut((b"'claimed'",), answer=True)
    status, problem = ask()
    assert (status, problem["outcome"], proxy.cuts) == (503, "unknown", 1)
    assert "asked_before" in problem["detail"]
    assert Job.objects.values_list("status", "worker_id").get() == (Status.IN_PROGRESS, "worker-1")

    status, problem = ask(worker_id="worker-2", asked_before=True)
    assert (status, problem["reason"]) == (409, "already_claimed")
    for _ in range(2):
        status, run = ask(asked_before=True)
        assert (status, run["job_id"], run["payload"]) == (200, str(job.pk), {"site": "example.org"})
    status, problem = ask()
    assert (status, problem["reason"], problem["settled"]) == (409, "already_claimed", True)


def test_form_says_that_its_outcome_is_unknown(server: Server, proxy: CuttingProxy) -> None:
    log_in(server)
    proxy.cut((b'INSERT INTO "pauses"', b"COMMIT\0"), answer=True)
    page = "/admin/opsconsole/pause/"
    form = {"name": "recovery", "decision": "pause", "recovery-reason": "deploy", "recovery-minutes": "10"}

    status, text = server.post_form(page, page, **form)

    assert proxy.cuts == 1
    assert status == 503
    assert "Whether it was saved is unknown" in text
    assert "Nothing was changed" not in text
    assert Pause.objects.count() == 1


@pytest.mark.parametrize("form", ["pause", "requeue"])
def test_form_is_doubted_where_the_server_stays_away(server: Server, proxy: CuttingProxy, form: str) -> None:
    log_in(server)
    if form == "pause":
        page = action = "/admin/opsconsole/pause/"
        fields = {
            "name": "recovery",
            "decision": "pause",
            "recovery-reason": "deploy",
            "recovery-minutes": "10",
        }
        marks = (b'INSERT INTO "pauses"', b"COMMIT\0")
    else:
        job = factories.job(status=Status.FAILED)
        page, action = f"/admin/jobs/job/operate/requeue/?id={job.pk}", "/admin/jobs/job/operate/requeue/"
        fields = {"reason": "mended"}
        marks = (b"INSERT INTO outbox", b"COMMIT\0")
    proxy.cut(marks, answer=True, away=True)

    status, text = server.post_form(page, action, **fields)

    assert (proxy.cuts, status) == (1, 503)
    assert "Whether it was saved is unknown" in text
    assert "Nothing was changed" not in text
    assert "Try again" not in text


def test_form_changes_nothing_where_the_server_goes_away_before(server: Server, proxy: CuttingProxy) -> None:
    log_in(server)
    job = factories.job(status=Status.FAILED)
    page, action = f"/admin/jobs/job/operate/requeue/?id={job.pk}", "/admin/jobs/job/operate/requeue/"
    proxy.cut((b'UPDATE "jobs"',), answer=False, away=True)

    status, text = server.post_form(page, action, reason="mended")

    assert (proxy.cuts, status) == (1, 503)
    assert "The database does not answer." in text
    assert "Nothing was changed." in text and "refused" not in text
    job.refresh_from_db()
    assert (job.status, job.run_epoch) == (Status.FAILED, 1)


@pytest.mark.parametrize("answer", [True, False], ids=["the commit's answer is lost", "the commit is lost"])
def test_action_of_a_list_settles_an_unknown_outcome_by_the_audit(
    server: Server, proxy: CuttingProxy, answer: bool
) -> None:
    """The line is saved together with the change, so that it proves the change."""
    log_in(server)
    job = factories.job(status=Status.FAILED)
    page = f"/admin/jobs/job/operate/requeue/?id={job.pk}"
    proxy.cut((b"INSERT INTO outbox", b"COMMIT\0"), answer=answer)

    status, text = server.post_form(page, "/admin/jobs/job/operate/requeue/", reason="mended")

    assert (proxy.cuts, status) == (1, 200)
    assert ("1 job requeued" in text) == answer
    assert ("Whether it was saved is unknown" in text) == (not answer)
    assert "It changed in the meantime" not in text
    job.refresh_from_db()
    assert (job.status, job.run_epoch) == ((Status.PENDING, 2) if answer else (Status.FAILED, 1))
    assert [line.object_id for line in LogEntry.objects.all()] == [str(job.pk)] * answer


def test_letter_is_discarded_together_with_its_line_of_the_audit(server: Server, proxy: CuttingProxy) -> None:
    log_in(server)
    letter = factories.dead_letter()
    page = f"/admin/jobs/deadletter/operate/discard/?id={letter.pk}"
    proxy.cut((b"discarded", b"COMMIT\0"), answer=True)

    status, text = server.post_form(page, "/admin/jobs/deadletter/operate/discard/", reason="spam")

    assert (proxy.cuts, status) == (1, 200)
    assert "1 dead letter discarded" in text
    letter.refresh_from_db()
    assert letter.state == DeadLetter.State.DISCARDED
    assert LogEntry.objects.get().object_id == str(letter.pk)


@pytest.mark.parametrize("away", [False, True], ids=["it comes back", "it stays away"])
def test_command_says_that_its_outcome_is_unknown(limiter: None, proxy: CuttingProxy, away: bool) -> None:
    proxy.cut(JOB_COMMITS, answer=True, away=away)

    done = run(proxy, "enqueue_jobs", "--customer", "c-1", "--package-size", "1")

    assert (proxy.cuts, done.returncode, Job.objects.count()) == (1, 3, 1)
    assert "Whether it was saved is unknown" in done.stderr
    assert f"look for the job {Job.objects.get().pk}" in done.stderr


def test_key_that_nobody_has_seen_is_to_be_revoked(limiter: None, proxy: CuttingProxy) -> None:
    presets.write()
    proxy.cut((b'INSERT INTO "api_keys"', b"COMMIT\0"), answer=True)

    done = run(proxy, "api_keys", "create", "shop", "--scope", "jobs:write", "--reason", "it goes live")

    assert (proxy.cuts, done.returncode, done.stdout) == (1, 3, ""), done.stderr
    assert "Whether it was saved is unknown" in done.stderr
    assert f"If the key {ApiKey.objects.get().pk} is listed, revoke it" in done.stderr


@pytest.mark.parametrize("away", [False, True], ids=["it comes back", "it stays away"])
def test_requeue_of_unknown_outcome_is_no_refusal(limiter: None, proxy: CuttingProxy, away: bool) -> None:
    job = factories.job(status=Status.FAILED)
    proxy.cut((b"INSERT INTO outbox", b"COMMIT\0"), answer=True, away=away)

    done = run(proxy, "requeue_job", str(job.pk), "--reason", "mended", "--json")

    assert (proxy.cuts, done.returncode) == (1, 3), done.stderr
    assert "unknown" in done.stderr and "refused" not in done.stdout
    if not away:
        [told] = json.loads(done.stdout)["jobs"]
        assert (told["id"], told["done"]) == (str(job.pk), None)


def test_requeue_is_not_refused_by_a_database_that_is_away(limiter: None, proxy: CuttingProxy) -> None:
    job = factories.job(status=Status.FAILED)
    proxy.cut((b'UPDATE "jobs"',), answer=False, away=True)

    done = run(proxy, "requeue_job", str(job.pk), "--reason", "mended")

    assert (proxy.cuts, done.returncode, done.stdout) == (1, 3, ""), done.stderr
    assert "The database does not answer" in done.stderr
    assert "refused" not in done.stderr and "saved" not in done.stderr
    job.refresh_from_db()
    assert (job.status, job.run_epoch) == (Status.FAILED, 1)


def test_redrive_of_unknown_outcome_is_audited_and_no_skip(
    limiter: None, proxy: CuttingProxy, sqs_queue: TestQueue
) -> None:
    job = factories.job(status=Status.FAILED)
    body = json.dumps({"job_id": str(job.pk), "run_epoch": 1})
    sqs_queue.client.send_message(QueueUrl=sqs_queue.dlq_url, MessageBody=body)
    proxy.cut((b"INSERT INTO outbox", b"COMMIT\0"), answer=True)
    queues = {"SQS_QUEUE_URL": sqs_queue.url, "SQS_DLQ_URL": sqs_queue.dlq_url}

    done = run(proxy, "redrive_dlq", "--reason", "mended", **queues)

    assert (proxy.cuts, done.returncode) == (1, 0), done.stderr
    letter = DeadLetter.objects.get()
    assert f"unknown  {letter.pk}" in done.stdout and "skipped" not in done.stdout
    assert done.stdout.endswith("1 replayed.\n")
    line = LogEntry.objects.get()
    assert (line.object_id, audit.parts_of(line).why) == (str(letter.pk), "mended")


@pytest.mark.parametrize(
    ("words", "mark", "usually"),
    [
        (["judge_monitors"], b"monitors", 30.0),
        (["pause", "recovery", "--minutes", "5", "--reason", "deploy"], b'INSERT INTO "pauses"', 120.0),
        (["recover_stale_jobs", "--dry-run"], b"jobs", 120.0),
        (["retention"], b"DELETE", 900.0),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_command_does_not_wait_for_ever_for_a_database_that_hangs(
    limiter: None, proxy: CuttingProxy, words: list[str], mark: bytes, usually: float
) -> None:
    """Its disk hangs, say: the connection stays, and no answer comes. Whoever asked is told that it is unknown."""
    proxy.vanish((mark,))

    done = run(proxy, *words, program=("-c", HASTY.format(usually=usually)))

    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    waiting, given_up = done.stderr.splitlines()[-2:]
    assert waiting == "The database has not answered for 1 s. It is waited for up to 2 s."
    assert given_up.startswith("The database does not answer: no answer came in 2 s")
    assert not Pause.objects.exists()
