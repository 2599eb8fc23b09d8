"""The web server as a program of ``run_cluster --web``: a fork, so that what it shares with the cluster is in memory once."""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.template import Engine, engines
from django.urls import get_resolver, reverse
from django.utils.module_loading import import_string

from opsconsole import script_name
from opsconsole.kit import model_caches, schema_version
from opsconsole.kit.supervision.supervisor import Program
from opsconsole.serving import graceful_timeout
from opsconsole.timeouts import limit_statements

# gunicorn ends what has not finished within its own limit.
GRACE_SECONDS = graceful_timeout + 5.0
# GUNICORN_CMD_ARGS and WEB_CONCURRENCY say the rest.
COMMAND = ["gunicorn", "--config", "python:opsconsole.serving"]


def program() -> Program:
    """Return gunicorn as a program whose fork loads and makes nothing: the supervisor has done both, and checked the settings."""
    load()
    return Program("web", ["gunicorn"], grace=GRACE_SECONDS, run=partial(_serve, _gunicorn()))


@cache
def load() -> None:
    """Load what requests need, for the forks to share. It starts no thread; whoever forks closes the connection before."""
    storage = settings.STORAGES["staticfiles"]["BACKEND"]
    for name in (*settings.MIDDLEWARE, settings.SESSION_SERIALIZER, settings.MESSAGE_STORAGE, storage):
        import_string(name)
    # It imports the pages and routes, and lists their addresses. What else is served so, such as by benchmarks, has none of them.
    if "admin" in get_resolver().namespace_dict:
        reverse("admin:index")
        from opsconsole.api import reference  # noqa: PLC0415 - read where pages are served

        reference.make_document()
    pages = engines["django"]
    Engine.get_default().template_context_processors  # noqa: B018 - reading it imports them
    for folder in pages.template_dirs:
        for file in Path(folder).rglob("*.html"):
            pages.get_template(str(file.relative_to(folder)))
    model_caches.fill()
    schema_version.ask_before_forks()


def _gunicorn() -> Any:
    """Return gunicorn with its options read, and with the application. Wrong options end this process with a sentence."""
    # gunicorn moves what ps shows of this process when it is imported; /proc is to show the environment that we were given.
    os.environ["SPT_NOENV"] = "1"
    from gunicorn.app.wsgiapp import WSGIApplication  # noqa: PLC0415 - see above

    from opsconsole.api import checks_first  # noqa: PLC0415 - it imports the routes, as ``load`` does
    from opsconsole.serving import worker  # noqa: F401, PLC0415 - gunicorn finds it loaded

    own, sys.argv = sys.argv, COMMAND
    try:
        server = WSGIApplication("%(prog)s [OPTIONS]", prog="gunicorn")
    finally:
        sys.argv = own
    server.callable = script_name.ignoring_clients(checks_first.before(WSGIHandler()))
    return server


def _serve(server: Any) -> None:
    """Be gunicorn, as on its own command line."""
    sys.argv = COMMAND
    limit_statements()
    server.run()
