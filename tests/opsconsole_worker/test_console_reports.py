"""Answers of the console, and what a worker over the HTTP API makes of them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest

from opsconsole_worker.database import door
from opsconsole_worker.reports import bounded_connection, reporting
from opsconsole_worker.reports.console_http import ConsoleAway, ConsoleHttp, ConsoleRefused
from opsconsole_worker.reports.to_console import MOST_FAILURES, ConsoleReports
from opsconsole_worker.reports.to_database import DatabaseReports
from opsconsole_worker.runs.heartbeats import Verdict, Worker
from opsconsole_worker.runs.lifecycle import Failure, Refusal, Refused, Run
from opsconsole_worker.working.outages import Patience

JOB = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
RUN = Run(JOB, 3, Worker("w-1"))
JOB_OF_ANSWER = {
    "job_id": str(JOB),
    "run_epoch": 3,
    "customer_id": None,
    "package_size": 50,
    "priority": "starter",
    "payload": {"site": "é"},
    "attempts": 2,
    "beat_every_seconds": 4,
}


class Console(ThreadingHTTPServer):
    """Answers each request with what the test says next; it keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.connections = 0

    def answer(self, status: int, said: Any = None, **headers: str) -> None:
        self.answers.append((status, said, headers))


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Console

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"] == "Bearer ock_test"
        self.server.asked.append((self.path, json.loads(body)))
        status, said, headers = self.server.answers.pop(0)
        if status == 0:
            self.close_connection = True
            return
        text = said if isinstance(said, bytes) else b"" if said is None else json.dumps(said).encode()
        self.send_response(status)
        if not isinstance(said, bytes):
            self.send_header("API-Version", "1.0")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@pytest.fixture
def console() -> Iterator[Console]:
    with Console() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def reports(console: Console) -> Iterator[ConsoleReports]:
    made = ConsoleReports(ConsoleHttp(f"http://127.0.0.1:{console.server_port}/ops/", "ock_test", timeout=5))
    reporting.use(made)
    yield made
    made.close()
    reporting.use(DatabaseReports())


def claim(reports: ConsoleReports) -> Any:
    return reports.claim(JOB, 3, RUN.worker, dead_letter_id=None, asked_before=False)


@pytest.mark.parametrize(
    ("status", "said", "headline"),
    [
        (429, {"detail": "Too many."}, "The console limits the requests of this worker's key"),
        (503, {"detail": "The database does not answer."}, "The console can't do this now"),
        (502, b"<html>nginx</html>", "The console can't do this now"),
        (401, {"detail": "Unknown key."}, "The console refuses the key of this worker"),
        (403, {"reason": "scope", "detail": "No scope."}, "The console refuses the key of this worker"),
        (301, None, "The console is not at this address"),
        (200, b"<html>Log in, please</html>", "The console is not at this address"),
        (404, b"<html>nginx</html>", "The console is not at this address"),
        (408, b"<html>haproxy</html>", "Something before the console refuses the requests of this worker"),
        (409, b"", "Something before the console refuses the requests of this worker"),
        (500, b"<html>nginx</html>", "The console can't do this now"),
        (200, {}, "The console's answer can't be read"),
    ],
)
def test_every_report_is_repeated_after_an_answer_that_says_nothing_of_the_run(
    console: Console, reports: ConsoleReports, status: int, said: Any, headline: str
) -> None:
    for report in (
        lambda: reports.idle(RUN.worker, "default"),
        lambda: claim(reports),
        lambda: reports.beat(RUN),
        lambda: reports.complete(RUN, {}),
        lambda: reports.fail(RUN, "it broke", retryable=True),
        lambda: reports.leave(RUN.worker),
    ):
        console.answer(status, said, Retry_After="7")
        with pytest.raises(ConsoleAway) as away:
            report()
        assert reports.headline(away.value) == headline
        assert Patience("It").failed(away.value) == 7.0
    assert console.connections == 1


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("86400", 300.0), ("Fri, 27 Nov 2026 13:00:00 GMT", 0.0), ("-1", 0.0)]
)
def test_pause_is_as_long_as_asked_within_bounds(
    console: Console, reports: ConsoleReports, header: str, seconds: float
) -> None:
    console.answer(503, {}, Retry_After=header)
    with pytest.raises(ConsoleAway) as away:
        reports.beat(RUN)
    assert reports.pause_asked(away.value) == seconds


def test_pause_makes_no_waiting_run_stale(console: Console, reports: ConsoleReports, settings: Any) -> None:
    settings.OPSCONSOLE_STALE_AFTER_SECONDS = 90
    console.answer(429, {}, Retry_After="300")
    with pytest.raises(ConsoleAway) as away:
        reports.beat(RUN)
    assert Patience("It").failed(away.value) == 45.0


def test_only_failures_of_the_console_itself_give_a_result_up(
    console: Console, reports: ConsoleReports
) -> None:
    for _ in range(MOST_FAILURES + 1):
        console.answer(500, b"<html>nginx</html>")
        with pytest.raises(ConsoleAway):
            reports.complete(RUN, {})
    for _ in range(MOST_FAILURES - 1):
        console.answer(500, {"detail": "The console failed."})
        with pytest.raises(ConsoleAway):
            reports.complete(RUN, {})
    console.answer(500, {"detail": "The console failed."})
    with pytest.raises(ConsoleRefused, match="The console failed"):
        reports.complete(RUN, {})


def test_broken_connection_is_no_answer_and_the_next_report_opens_another(
    console: Console, reports: ConsoleReports
) -> None:
    console.answer(0)
    console.answer(200, {"verdict": "continue"})
    with pytest.raises(ConsoleAway) as away:
        reports.beat(RUN)
    assert reports.headline(away.value) is None
    assert reports.beat(RUN) is Verdict.GO_ON
    assert console.connections == 2


def test_hanging_console_is_no_answer() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as deaf:  # Nobody accepts.
        http = ConsoleHttp(f"http://127.0.0.1:{deaf.server_port}", "ock_test", timeout=0.2)
        with pytest.raises(ConsoleAway, match="timed out"):
            http.post("workers/beat", {})


class _Trickling(BaseHTTPRequestHandler):
    """Answers for as long as somebody listens: each piece comes well before a wait for one would end."""

    pieces: tuple[bytes, bytes]

    def do_POST(self) -> None:
        begins, piece = self.pieces
        try:
            self.wfile.write(begins)
            while True:
                self.wfile.write(piece)
                threading.Event().wait(0.01)
        except OSError:
            self.server.left.set()  # type: ignore[attr-defined]  # of this test


@pytest.mark.parametrize(
    ("begins", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 100 Continue\r\n"),
        (b"HTTP/1.1 ", b" "),
        (b"HTTP/1.1 200 OK\r\nAPI-Version: 1\r\nContent-Length: 1000000\r\n\r\n{", b" "),
        (b"HTTP/1.1 200 OK\r\nAPI-Version: 1\r\nConnection: close\r\n\r\n{", b" "),
    ],
    ids=["header", "interim answers", "status line", "body", "body without an end"],
)
def test_answer_that_trickles_is_none_and_is_left(begins: bytes, piece: bytes) -> None:
    kind = type("Trickling", (_Trickling,), {"pieces": (begins, piece)})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.left = threading.Event()  # type: ignore[attr-defined]  # of this test
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        http = ConsoleHttp(f"http://127.0.0.1:{server.server_port}", "ock_test", timeout=0.3)
        with pytest.raises(ConsoleAway):
            http.post("workers/beat", {})
        # The server would go on for ever: that it noticed is the proof that nobody listens any longer.
        assert server.left.wait(60)  # type: ignore[attr-defined]  # of this test
        server.shutdown()


def test_handshake_has_what_connecting_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket's limit is the only one of a handshake."""
    left = iter([5.0, 4.0, 2.0])
    monkeypatch.setattr(bounded_connection, "left_until", lambda _: next(left))
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = bounded_connection.BoundedConnection("127.0.0.1", server.getsockname()[1])
        connection.connect()
        assert connection.sock.gettimeout() == 2.0
        connection.close()


def test_claimed_job_is_what_the_database_would_say(console: Console, reports: ConsoleReports) -> None:
    console.answer(200, JOB_OF_ANSWER)
    job = claim(reports)
    assert (job.id, job.epoch, job.customer_id, job.payload) == (JOB, 3, None, {"site": "é"})
    assert reports.beat_seconds == 4.0
    [(path, said)] = console.asked
    assert path == f"/ops/api/jobs/{JOB}/claim"
    assert said["run_epoch"] == 3
    assert said["worker_id"] == "w-1"


@pytest.mark.parametrize(
    ("status", "said", "refused"),
    [
        (404, {"reason": "unknown_job", "settled": False}, Refused(Refusal.UNKNOWN_JOB)),
        (
            409,
            {"reason": "already_claimed", "settled": True, "retryAfter": 0},
            Refused(Refusal.ALREADY_CLAIMED),
        ),
        (409, {"reason": "too_early", "retryAfter": 90}, Refused(Refusal.TOO_EARLY, timedelta(seconds=90))),
        (409, {"reason": "locked", "retryAfter": 30}, Refused(Refusal.LOCKED, timedelta(seconds=30))),
    ],
)
def test_refused_claims(
    console: Console, reports: ConsoleReports, status: int, said: Any, refused: Refused
) -> None:
    console.answer(status, said)
    assert claim(reports) == refused


def test_refusal_by_a_rule_names_it_and_since_when(console: Console, reports: ConsoleReports) -> None:
    said = {
        "reason": "refused_by_database",
        "constraint": "one",
        "retryAfter": 30,
        "refusedForSeconds": 86_400,
    }
    console.answer(409, said)
    refused = claim(reports)
    assert (refused.refusal, refused.since) == (Refusal.REFUSED_BY_DATABASE, timedelta(days=1))
    assert "constraint 'one'" in refused.rule.rule


@pytest.mark.parametrize("status", [404, 422, 413])
def test_claim_that_is_no_claim_is_refused_for_good(
    console: Console, reports: ConsoleReports, status: int
) -> None:
    console.answer(status, {"detail": "There is nothing at this address."})
    with pytest.raises(ConsoleRefused, match="nothing at this address"):
        claim(reports)


def test_late_reports_change_nothing(console: Console, reports: ConsoleReports) -> None:
    for _ in range(2):
        console.answer(409, {"reason": "cancelled", "settled": True})
    assert reports.complete(RUN, {"submitted": 1}) is False
    assert reports.fail(RUN, "it broke", retryable=True) is Failure.REJECTED
    console.answer(404, {"reason": "unknown_job"})
    assert reports.beat(RUN) is Verdict.SUPERSEDED


def test_row_that_is_locked_is_told_as_such(console: Console, reports: ConsoleReports) -> None:
    console.answer(503, {"reason": "locked"}, Retry_After="1")
    with pytest.raises(door.RowLocked):
        reports.complete(RUN, {})


def test_work_counts_without_a_result_that_the_console_does_not_take(
    console: Console, reports: ConsoleReports
) -> None:
    console.answer(413, {"detail": "The request is larger than the console accepts."})
    console.answer(200, {"outcome": "completed"})
    assert reports.complete(RUN, {"text": "x"}) is True
    assert console.asked[1][1]["details"] == {
        "result_not_kept": "The request is larger than the console accepts."
    }


class _ReadsLittle(BaseHTTPRequestHandler):
    """Refuses a large body by its length and hangs up, as the console's server does."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        text = b"" if length > 4 * 1_048_576 else b'{"outcome": "completed"}'
        if text:
            self.rfile.read(length)
        self.send_response(200 if text else 413)
        if text:
            self.send_header("API-Version", "1.0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


def test_result_that_is_refused_before_it_is_sent_does_not_keep_the_worker() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _ReadsLittle) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        made = ConsoleReports(ConsoleHttp(f"http://127.0.0.1:{server.server_port}", "ock_test"))
        assert made.complete(RUN, {"text": "x" * 16_000_000}) is True
        made.close()
        server.shutdown()


def test_idle_worker_asks_once_per_interval_and_again_after_trouble(
    console: Console, reports: ConsoleReports
) -> None:
    console.answer(200, {"paused": {"by": "ada", "reason": "the directory is down"}})
    for _ in range(3):
        assert reports.idle(RUN.worker, "slow") == ("ada", "the directory is down")
    [(path, said)] = console.asked
    assert (path, said["queue"]) == ("/ops/api/workers/beat", "slow")
    reports.close()
    console.answer(200, {"paused": None})
    assert reports.idle(RUN.worker, "slow") is None
