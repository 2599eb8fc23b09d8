"""pgbouncer in front of the tests' PostgreSQL: Debian's configuration, with pool_mode = transaction unless a test says otherwise."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from opsconsole.embedded.postgres import POSTGRES_ACCOUNT
from tests.field.installed import installed
from tests.programs import program
from tests.serving import free_port
from tests.waiting import wait_until

# What /etc/pgbouncer/pgbouncer.ini of Debian sets, with places of its own and the mode that this is about. Roles of the
# tests' PostgreSQL have no passwords.
CONFIGURATION = """
[databases]
* = host={server} port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
logfile = {log}
pool_mode = {mode}
"""


@contextmanager
def pgbouncer(folder: Path, *, server: str, roles: Iterable[str], mode: str = "transaction") -> Iterator[int]:
    """Run pgbouncer in front of the server whose socket is in the folder ``server``; yield its port on loopback."""
    command = installed("pgbouncer")
    account = pwd.getpwnam(POSTGRES_ACCOUNT) if os.geteuid() == 0 else None
    own = folder / "pgbouncer"
    own.mkdir()
    port = free_port()
    users, log, configuration = own / "userlist.txt", own / "pgbouncer.log", own / "pgbouncer.ini"
    users.write_text("".join(f'"{role}" ""\n' for role in roles))
    configuration.write_text(CONFIGURATION.format(server=server, port=port, users=users, log=log, mode=mode))
    if account:
        _let_in(account, own)
    pooler = program(
        [command, configuration],
        # It refuses to run as root, and only the account of the server may use the server's socket.
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        end_signal=signal.SIGTERM,
    )
    with pooler:
        wait_until(lambda: _listens(port), timeout=30, what=f"pgbouncer: {log}")
        yield port


def url(port: int, role: str, database: str) -> str:
    return f"postgres://{quote(role, safe='')}@127.0.0.1:{port}/{database}"


def _let_in(account: pwd.struct_passwd, own: Path) -> None:
    for file in (own, *own.iterdir()):
        os.chown(file, account.pw_uid, account.pw_gid)
    for parent in own.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            # Permission to enter the folder, not to list it.
            parent.chmod(mode | 0o001)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
