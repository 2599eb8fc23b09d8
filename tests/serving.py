"""The real web servers for tests: gunicorn and uvicorn as separate processes, with the tests' database and store."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from django.db import connection

from tests.programs import program
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
WORKERS = ("--workers", "2", "--threads", "4", "--graceful-timeout", "5")


# Below the ports that the kernel gives to clients: one of those may be taken between the look and the server's start.
_PORTS = itertools.cycle(range(20_000, 32_000))
# Processes that test side by side begin at different ones.
_SKIPPED = itertools.islice(_PORTS, os.getpid() * 97 % 12_000)


def free_port() -> int:
    for _ in _SKIPPED:
        pass
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable: the ports go round")


def database_url() -> str:
    """Return the URL of the test's database, for separate processes."""
    of = connection.settings_dict
    return (
        f"postgres://{quote(of['USER'] or '', safe='')}:{quote(of['PASSWORD'] or '', safe='')}@/{of['NAME']}"
        f"?host={quote(str(of['HOST']), safe='')}" + (f"&port={of['PORT']}" if of["PORT"] else "")
    )


@contextmanager
def gunicorn(folder: Path, *options: str, **environ: str) -> Iterator[int]:
    """Serve the console with two processes of four threads; yield the port. The log is in ``folder``."""
    port = free_port()
    with (folder / "gunicorn.log").open("wb") as log:
        served = program(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "--config",
                "python:opsconsole.serving",
                "--bind",
                f"127.0.0.1:{port}",
                *WORKERS,
                *options,
            ],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database_url()} | environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            end_signal=signal.SIGTERM,
        )
        with served:
            wait_until(lambda: answers(port), timeout=60, what=f"gunicorn: {folder / 'gunicorn.log'}")
            yield port


@contextmanager
def uvicorn(
    folder: Path, *options: str, app: str = "opsconsole.asgi:application", **environ: str
) -> Iterator[int]:
    """Serve the console with one process of uvicorn; yield the port. The log is in ``folder``."""
    port = free_port()
    with (folder / "uvicorn.log").open("wb") as log:
        served = program(
            [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port), *options],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database_url()} | environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            end_signal=signal.SIGTERM,
        )
        with served:
            wait_until(lambda: answers(port), timeout=60, what=f"uvicorn: {folder / 'uvicorn.log'}")
            yield port


def answers(port: int) -> bool:
    """Tell whether the console's liveness probe answers on this port."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        client.request("GET", "/healthz")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()
