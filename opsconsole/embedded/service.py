"""A server that ends with the process that started it, and that other processes find and share."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from opsconsole.kit.supervision.child import STOP_SECONDS, Child

START_SECONDS = 30.0
POLL_SECONDS = 0.02
# A socket's path has at most 103 bytes (macOS; 107 on Linux), PostgreSQL's name in the folder included.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432.lock")


class EmbeddedServiceError(Exception):
    """A server did not start. The message shows the end of its log."""


@dataclass(frozen=True)
class Service:
    """A running server. ``child`` is None when another process owns it; ``stop`` then does nothing."""

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


@contextlib.contextmanager
def one_starter(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pid_in(file: Path) -> int | None:
    try:
        return int(file.read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None


def runs_for_its_owner(pid: int, folder: Path) -> bool:
    """Tell whether a server of this folder runs as ``pid``. If its owner is gone, wait until the server has ended."""
    try:
        server = psutil.Process(pid)
        if not Path(server.cwd()).is_relative_to(folder):
            return False
        if server.ppid() == pid_in(folder / "owner"):
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


def answering(child: Child, url: str, answers: Callable[[str], bool], log: Path) -> Service:
    """Return the service once it answers and its owner is on record."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        if child.process.poll() is not None or time.monotonic() > deadline:
            child.stop()
            raise EmbeddedServiceError(explain(log))
        time.sleep(POLL_SECONDS)
    (log.parent / "owner").write_text(str(child.owner))
    return Service(url, child.process.pid, child)


def socket_folder(folder: Path, account: pwd.struct_passwd | None = None) -> Path:
    """Return ``folder``, or a short private one when a socket's path in it would be too long."""
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


def explain(log: Path) -> str:
    last_lines = log.read_text(errors="replace").splitlines()[-5:]
    return f"An embedded server did not start. The end of its log, {log}: " + " / ".join(last_lines)
