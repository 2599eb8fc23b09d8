"""How the console is served: gunicorn's settings, for ``gunicorn --config python:opsconsole.serving``.

gunicorn starts, watches, reloads and ends the processes. In each, ``opsconsole.serving.worker`` reads requests and sends
responses in one event loop, so that only whole requests occupy a thread. gunicorn's command line, and its variable
GUNICORN_CMD_ARGS, win over these settings.
"""

from __future__ import annotations

import os
from typing import Any

wsgi_app = "opsconsole.wsgi"
worker_class = "opsconsole.serving.worker.Worker"
bind = "127.0.0.1:8000"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = 4
# Connections of each process. A new one above this number replaces one that waits for its client.
worker_connections = 500
# A process has this long to finish its requests when it is to end.
graceful_timeout = 30
# The longest request line that is read, and the largest number of header fields.
limit_request_line = 8_190
limit_request_fields = 100
control_socket_disable = True
# With another worker class, no header of a client or proxy sets the path (SCRIPT_NAME, PATH_INFO).
forwarder_headers = ""


def on_starting(server: Any) -> None:
    """Tell the processes, which read the settings of the console later, how many they are on this host."""
    os.environ.setdefault("OPSCONSOLE_WEB_PROCESSES", str(server.cfg.workers))
