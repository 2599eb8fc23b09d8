"""The SQS emulator: moto's server in a separate process (``__main__``)."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from opsconsole.embedded.service import Service
from opsconsole.kit.supervision.child import start
from opsconsole.paths import PACKAGE


def start_sqs(folder: Path) -> Service:
    """Start an empty SQS emulator (moto) on a free loopback port, with its log in ``folder``.

    It takes about a second to load; calls made in the meantime wait for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        child = start(
            [sys.executable, "-m", "opsconsole.embedded", str(listener.fileno())],
            folder=PACKAGE.parent,
            log=folder.resolve() / "sqs.log",
            end_signal=signal.SIGKILL,
            descriptors=[listener.fileno()],
        )
        return Service(url, child.process.pid, child)
