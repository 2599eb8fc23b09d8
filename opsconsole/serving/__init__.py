"""How the console is served: gunicorn's settings, for ``gunicorn --config python:opsconsole.serving``.

gunicorn loads the application once, and starts, watches and ends the processes, which share the memory of what was loaded.
In each, ``opsconsole.serving.worker`` reads requests and sends responses in one event loop, so that only whole requests
occupy a thread. gunicorn's command line, and its variable GUNICORN_CMD_ARGS, win over these settings.
"""

from __future__ import annotations

import gc
import os
from typing import Any

from opsconsole import logs

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
# Its own lines in one format with all others, if that is JSON; otherwise its options decide.
logconfig_dict = logs.of_gunicorn(os.environ) or {}
# With another worker class, no header of a client or proxy sets the path (SCRIPT_NAME, PATH_INFO).
forwarder_headers = ""


def on_starting(server: Any) -> None:
    """Load the application, so that the processes share its memory. SIGHUP starts them anew with the code that was loaded."""
    _tell_settings(server.cfg.workers)
    server.app.wsgi()
    _load_what_requests_need()
    gc.collect()
    # Otherwise each collection writes to every object that was loaded, and the pages are shared no more.
    gc.freeze()


def _tell_settings(processes: int) -> None:
    """Let the settings know how many processes there are on this host, unless somebody told them."""
    if os.environ.get("OPSCONSOLE_WEB_PROCESSES"):
        return
    os.environ["OPSCONSOLE_WEB_PROCESSES"] = str(processes)
    from django.conf import settings  # noqa: PLC0415 - where the application has read none, it reads the variable

    if settings.configured:
        # ``run_cluster --web`` has read them before.
        settings.OPSCONSOLE_WEB_PROCESSES = processes


def _load_what_requests_need() -> None:
    """Import what Django imports with the first requests: addresses, pages, routes and templates."""
    from django.apps import apps  # noqa: PLC0415 - the application has set Django up, unless it is another one

    if apps.ready:
        from django.db import connections  # noqa: PLC0415 - as above

        from opsconsole.serving import program  # noqa: PLC0415 - as above

        program.load()
        # The checks asked the database. A forked process must not have the connection of another one.
        connections.close_all()
