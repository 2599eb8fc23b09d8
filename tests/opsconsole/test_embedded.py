"""Tests of embedded services: found, shared, and stopped with their owner however it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
import requests

from opsconsole import embedded
from opsconsole.kit.supervision import child
from tests.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
OWNER = """
import json, sys
from pathlib import Path
from opsconsole import embedded
folder = Path(sys.argv[1])
services = [
    embedded.start_postgres(folder / "postgres", throwaway=True),
    embedded.start_valkey(folder / "valkey"),
    embedded.start_sqs(folder / "sqs"),
]
print(json.dumps([[service.pid, service.url, service.child is not None] for service in services]), flush=True)
sys.stdin.read()
"""


class Owner:
    """Another process that starts (or finds) the services of a folder and keeps them until its input ends."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def services(self) -> list[tuple[int, str, bool]]:
        assert self.process.stdout
        return [(pid, url, owned) for pid, url, owned in json.loads(self.process.stdout.readline())]

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder with a short path, because it contains sockets."""
    with tempfile.TemporaryDirectory(prefix="embedded-") as path:
        yield Path(path)
        # The servers of a killed owner end a moment later, and write files until then.
        wait_until(lambda: not at_work_in(path), 20, what="the end of all servers")


def at_work_in(path: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(path) or any(path in word for word in process.cmdline()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@contextmanager
def owner_of(folder: Path) -> Iterator[Owner]:
    owner = Owner(folder)
    try:
        yield owner
    finally:
        owner.kill()


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def families(pids: list[int]) -> list[psutil.Process]:
    """Return the servers with all processes that they started."""
    servers = [psutil.Process(pid) for pid in pids]
    return [*servers, *(each for server in servers for each in server.children(recursive=True))]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    wait_until(lambda: not any(map(lives, processes)), 20, what=f"the end of {processes}")


def answer(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
        assert row
        return str(row[0])


@pytest.mark.parametrize("ending", [Owner.kill, Owner.end])
def test_no_server_outlives_its_owner(folder: Path, ending: object) -> None:
    assert callable(ending)
    with owner_of(folder) as owner:
        pids = [pid for pid, _, _ in owner.services()]
        processes = families(pids)
        assert len(pids) == 3 and len(processes) > 5
        ending(owner)
        wait_until_gone(processes)


def test_servers_listen_on_sockets_and_loopback_alone(folder: Path) -> None:
    with owner_of(folder) as owner:
        services = owner.services()
        addresses = {
            connection.laddr.ip
            for process in families([pid for pid, _, _ in services])
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}
        assert answer(services[0][1]) == ""
        assert requests.get(services[2][1] + "/moto-api/", timeout=30).ok


def test_second_process_finds_servers_and_cannot_stop_them(folder: Path) -> None:
    with owner_of(folder) as owner, owner_of(folder) as finder:
        started = {*owner.services()[:2], *finder.services()[:2]}
        # The process that came first started both servers; the other found the same two.
        assert len({pid for pid, _, _ in started}) == len({url for _, url, _ in started}) == 2
        assert sorted(owned for _, _, owned in started) == [False, False, True, True]


def test_finder_leaves_the_servers_running(folder: Path) -> None:
    with owner_of(folder) as owner:
        (postgres, url, _), (valkey, _, _), _ = owner.services()
        with owner_of(folder) as finder:
            found = finder.services()
            assert [(pid, owned) for pid, _, owned in found[:2]] == [(postgres, False), (valkey, False)]
            finder.end()
        assert answer(url) == ""
        # Check the main processes only, because some of PostgreSQL's child processes come and go.
        assert all(map(lives, map(psutil.Process, (postgres, valkey))))


def test_data_survives_a_killed_owner_and_the_next_start_reuses_it(folder: Path) -> None:
    with owner_of(folder) as owner:
        (first, url, _), (_, cache_url, _), _ = owner.services()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (number int)")
        owner.kill()
    # Start at once, while the servers of the killed owner may still be ending.
    with owner_of(folder) as heir:
        (second, same_url, owned), (_, same_cache_url, cache_owned), _ = heir.services()
        assert owned and cache_owned and second != first
        assert (same_url, same_cache_url) == (url, cache_url)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        with redis.Redis.from_url(cache_url) as client:
            assert client.ping()


def test_killed_server_is_started_again(folder: Path) -> None:
    service = embedded.start_postgres(folder)
    with psycopg.connect(service.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (number int)")
    processes = families([service.pid])
    psutil.Process(service.pid).kill()
    service.stop()
    wait_until_gone(processes)
    with embedded.start_postgres(folder) as again, psycopg.connect(again.url) as connection:
        assert again.child and again.pid != service.pid
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_pid_file_of_unrelated_process_is_ignored(folder: Path) -> None:
    with embedded.start_postgres(folder, throwaway=True):
        left = (folder / "data" / "postmaster.pid").read_text().splitlines()
    stranger = psutil.Process().pid
    (folder / "data" / "postmaster.pid").write_text("\n".join([str(stranger), *left[1:]]) + "\n")
    with embedded.start_postgres(folder, throwaway=True) as service:
        assert service.child and answer(service.url) == ""


def test_incomplete_database_cluster_is_recreated(folder: Path) -> None:
    (folder / "data.new").mkdir()
    (folder / "data.new" / "PG_VERSION").write_text("18")
    with embedded.start_postgres(folder, throwaway=True) as service:
        assert answer(service.url) == ""


def test_path_too_long_for_a_socket(folder: Path) -> None:
    deep = folder / ("x" * 60) / ("y" * 60)
    with (
        embedded.start_postgres(deep, throwaway=True) as postgres,
        embedded.start_valkey(deep / "v") as valkey,
    ):
        assert answer(postgres.url) == ""
        with redis.Redis.from_url(valkey.url) as client:
            assert client.ping()
        short = [
            Path(str(psycopg.conninfo.conninfo_to_dict(postgres.url)["host"])),
            Path(valkey.url.removeprefix("unix://")).parent,
        ]
        assert all(path.stat().st_mode & 0o077 == 0 for path in short)
    for path in short:
        for socket in path.iterdir():
            socket.unlink()
        path.rmdir()


def test_server_that_does_not_start_says_why(folder: Path) -> None:
    embedded.start_postgres(folder, throwaway=True).stop()
    (folder / "data" / "postgresql.conf").write_text("shared_bufers = 1MB\n")
    with pytest.raises(
        embedded.EmbeddedServiceError, match="unrecognized configuration parameter"
    ) as refusal:
        embedded.start_postgres(folder, throwaway=True)
    assert "postgres.log" in str(refusal.value)


def test_server_started_in_thread_outlives_it(folder: Path) -> None:
    started: list[embedded.Service] = []
    thread = threading.Thread(target=lambda: started.append(embedded.start_valkey(folder)))
    thread.start()
    thread.join()
    [service] = started
    assert service.child
    with redis.Redis.from_url(service.url) as client:
        assert client.ping()
    guard = psutil.Process(service.child.guard.pid)
    server = psutil.Process(service.pid)
    service.stop()
    assert not lives(server) and not lives(guard)


def test_fork_that_outlives_the_owner_does_not_keep_its_servers(folder: Path) -> None:
    forking = "import os, signal\nif not (fork := os.fork()): signal.pause()\nprint(fork, flush=True)\nprint("
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.replace("print(", forking, 1), str(folder)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    fork = psutil.Process(int(process.stdout.readline()))
    processes = families([pid for pid, _, _ in json.loads(process.stdout.readline())])
    process.kill()
    process.wait()
    wait_until_gone(processes)
    assert lives(fork)
    fork.kill()
    process.communicate()


def test_fork_cannot_stop_server_of_parent(tmp_path: Path) -> None:
    sleeper = child.start(
        ["/bin/sleep", "60"], folder=tmp_path, log=tmp_path / "log", end_signal=signal.SIGKILL
    )
    inherited = child.Child(sleeper.process, sleeper.end_signal, owner=sleeper.owner + 1, guard=sleeper.guard)
    inherited.stop()
    assert sleeper.process.poll() is None
    sleeper.stop()
    assert sleeper.process.returncode == -signal.SIGKILL
