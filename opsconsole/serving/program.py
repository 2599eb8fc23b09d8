"""The web server as a program of ``run_cluster --web``: a fork, so that what it shares with the cluster is in memory once."""

from __future__ import annotations

import sys
from pathlib import Path

from django.conf import settings
from django.template import engines
from django.urls import get_resolver
from django.utils.module_loading import import_string

from opsconsole.kit.supervision.supervisor import Program
from opsconsole.serving import graceful_timeout

# gunicorn ends what has not finished within its own limit.
GRACE_SECONDS = graceful_timeout + 5.0


def program() -> Program:
    return Program("web", ["gunicorn"], grace=GRACE_SECONDS, run=serve)


def load() -> None:
    """Load what requests need, for the forks to share. Nothing of it starts a thread or asks the database."""
    for name in settings.MIDDLEWARE:
        import_string(name)
    # Reading it imports the pages and routes.
    get_resolver().reverse_dict  # noqa: B018 - see above
    pages = engines["django"]
    for folder in pages.template_dirs:
        for file in Path(folder).rglob("*.html"):
            pages.get_template(str(file.relative_to(folder)))


def serve() -> None:
    """Be gunicorn, as on its own command line; GUNICORN_CMD_ARGS and WEB_CONCURRENCY say the rest."""
    # When it is imported, it changes what ps shows of the process.
    from gunicorn.app.wsgiapp import WSGIApplication  # noqa: PLC0415 - see above

    sys.argv = ["gunicorn", "--config", "python:opsconsole.serving"]
    WSGIApplication("%(prog)s [OPTIONS]", prog="gunicorn").run()
