"""The metrics of a host without web: the port of its own, the token, the sign of life, and clients that hang."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from jobs.models import RecoveryControl
from opsconsole import metrics_page, metrics_server
from opsconsole.kit import env
from opsconsole.kit.alive import SignOfLife
from tests.conftest import TestQueue
from tests.counting import TOKEN, Counted
from tests.processes import marked
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import answers, database_url, free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def port(counted: Counted, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve the metrics of this process."""
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    monkeypatch.setattr(metrics_server, "MOST_AT_ONCE", 2)
    with metrics_server.Server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, path: str, token: str = "", method: str = "GET") -> tuple[int, str]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    finally:
        client.close()


def test_metrics_need_the_token_and_nothing_else_is_served(port: int, settings: Any) -> None:
    assert ask(port, "/metrics")[0] == ask(port, "/metrics", "x" * 32)[0] == 401
    status, text = ask(port, "/metrics", TOKEN)
    assert (status, "opsconsole_" in text) == (200, True)
    assert ask(port, "/metrics", TOKEN, "HEAD") == (200, "")
    assert ask(port, "/metrics", TOKEN, "POST")[0] == 501
    for path in ("/", "/admin/", "/api/docs", "/readyz", "/metrics/"):
        assert ask(port, path, TOKEN)[0] == 404, path
    settings.OPSCONSOLE_METRICS_TOKENS = []
    assert ask(port, "/metrics")[0] == 404


def test_health_is_the_sign_of_life_where_one_is_promised(
    port: int, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = tmp_path / "alive"
    settings.OPSCONSOLE_ALIVE_FILE = str(alive)
    monkeypatch.setattr(SignOfLife, "is_promised", False)
    # A worker promises none.
    assert ask(port, "/healthz") == (200, "ok")
    monkeypatch.setenv("OPSCONSOLE_ALIVE_FILE", str(alive))
    SignOfLife()
    assert ask(port, "/healthz")[0] == 503
    alive.touch()
    assert ask(port, "/healthz") == (200, "ok")
    long_ago = time.time() - 1_000
    os.utime(alive, (long_ago, long_ago))
    assert ask(port, "/healthz")[0] == 503


def test_clients_that_hang_give_their_places_back(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server._Request, "timeout", 0.2)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    for each in silent:
        each.settimeout(30)
        assert each.recv(1) == b"", "the server hangs up"
        each.close()
    assert ask(port, "/healthz")[0] == 200


def test_client_that_trickles_gives_its_place_back(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the request never ends."""
    monkeypatch.setattr(metrics_server._Request, "timeout", 0.5)

    def is_refused() -> bool:
        try:
            slow.send(b"x")
        except OSError:
            return True
        return False

    with socket.create_connection(("127.0.0.1", port)) as slow:
        wait_until(is_refused, 30)
    assert ask(port, "/healthz")[0] == 200


def test_scrapes_that_wait_for_the_database_keep_no_probe_waiting(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, over = threading.Event(), threading.Event()

    def hang(_request: HttpRequest) -> HttpResponse:
        begun.set()
        assert over.wait(60)
        return HttpResponse("samples")

    monkeypatch.setattr(metrics_page, "show", hang)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, port, "/metrics", TOKEN)
        try:
            assert begun.wait(30)
            assert ask(port, "/metrics", TOKEN)[0] == 503
            assert ask(port, "/healthz") == (200, "ok")
        finally:
            over.set()
        assert first.result(30) == (200, "samples")
    assert ask(port, "/metrics", TOKEN) == (200, "samples")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("", None),
        ("9187", ("127.0.0.1", 9187)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:9187", ("::1", 9187)),
    ],
)
def test_where_to_listen(value: str, where: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(env.environment.variables, "OPSCONSOLE_METRICS_LISTEN", value)
    assert env.listening("OPSCONSOLE_METRICS_LISTEN") == where


@pytest.mark.parametrize("value", ["0", "65536", "http", "localhost:80", "1.2.3:80", ":", "9187x"])
def test_wrong_place_to_listen_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(env.environment.variables, "OPSCONSOLE_METRICS_LISTEN", value)
    with pytest.raises(ImproperlyConfigured, match="OPSCONSOLE_METRICS_LISTEN must be a port such as 9187"):
        env.listening("OPSCONSOLE_METRICS_LISTEN")


def test_cluster_runs_the_program_where_an_address_is_set(settings: Any) -> None:
    settings.OPSCONSOLE_METRICS_LISTEN = None
    assert metrics_server.programs() == []
    settings.OPSCONSOLE_METRICS_LISTEN = ("127.0.0.1", free_port())
    assert [program.name for program in metrics_server.programs()] == ["metrics"]


def test_loop_takes_the_port_when_it_is_free(
    counted: Counted, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two loops of one host have the same settings."""
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    monkeypatch.setattr(metrics_server, "RETRY_SECONDS", 0.01)
    with metrics_server.Server(("127.0.0.1", 0)) as first:
        port = first.server_port
        settings.OPSCONSOLE_METRICS_LISTEN = ("127.0.0.1", port)
        second = metrics_server.beside_a_loop()
        second.__enter__()
        wait_until(lambda: "can't be served" in caplog.text, 30)
    wait_until(lambda: answers(port), 30)
    assert "opsconsole_" in ask(port, "/metrics", TOKEN)[1]
    second.__exit__(None, None, None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert caplog.text.count("can't be served") == 1


LONE = {
    "loop of the dispatcher": ("dispatch_outbox", "--loop"),
    "loop of the sender": ("send_alerts", "--loop"),
    "worker": ("run_worker", "--handler", "tests.jobs.worker.handlers.return_at_once"),
}


@pytest.mark.parametrize("words", LONE.values(), ids=LONE)
def test_what_runs_alone_has_metrics_of_its_own(
    words: tuple[str, ...], sqs_queue: TestQueue, tmp_path: Path
) -> None:
    RecoveryControl.objects.get_or_create(pk=1)  # Other tests empty all tables.
    port = free_port()
    ours = {
        "DATABASE_URL": database_url(),
        "SQS_QUEUE_URL": sqs_queue.url,
        "OPSCONSOLE_METRICS_LISTEN": str(port),
        "OPSCONSOLE_METRICS_TOKENS": TOKEN,
        "OPSCONSOLE_METRICS_DIR": str(tmp_path / "metrics"),
        "OPSCONSOLE_ALIVE_FILE": str(tmp_path / "alive"),
    }
    with marked() as mark, (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "manage.py", *words]
        with program(
            command,
            cwd=REPOSITORY,
            env=mark.environ | ours,
            stdout=log,
            stderr=log,
            end_signal=signal.SIGTERM,
        ) as process:
            wait_until(lambda: answers(port), 60)
            assert ask(port, "/metrics")[0] == 401
            assert "opsconsole_" in ask(port, "/metrics", TOKEN)[1]
            process.terminate()
            assert process.wait(60) == 0
