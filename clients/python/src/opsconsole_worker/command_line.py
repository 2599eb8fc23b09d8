"""The command line of a worker: ``python -m opsconsole_worker``, or ``opsconsole-worker`` where the wheel is installed."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opsconsole_worker import __version__, tracebacks
from opsconsole_worker.environment import Environment, QueueConfig
from opsconsole_worker.errors import InvalidSetting, OpsConsoleError
from opsconsole_worker.url_check import is_loopback

if TYPE_CHECKING:
    from opsconsole_worker.working.consumer import Consumer

STOPPED, REFUSED = 0, 2
DATABASE_EXAMPLE = "postgres://user:password@host:5432/name"
CONSOLE_EXAMPLE = "https://ops.example.com"
ALLOW = "OPSCONSOLE_ALLOW_PLAIN_HTTP"
EPILOG = """\
examples:
  python -m opsconsole_worker --handler shop.jobs.submit
  python -m opsconsole_worker --handlers shop.jobs --queue large --max-jobs 500
  DJANGO_SETTINGS_MODULE=shop.settings python -m opsconsole_worker --handler shop.jobs.submit \\
      --setup django.setup --before-run django.db.close_old_connections
  OPSCONSOLE_URL=https://ops.example.com OPSCONSOLE_KEY_FILE=/run/secrets/key \\
      python -m opsconsole_worker --http --handler shop.jobs.submit

environment (the names and meanings of the console; a name with _FILE names a file that holds the secret):
  DATABASE_URL, DATABASE_URL_FILE   the database of the jobs; or, without it or with --http:
  OPSCONSOLE_URL                    the console, and in OPSCONSOLE_KEY or OPSCONSOLE_KEY_FILE a key with the scope worker
  OPSCONSOLE_ALLOW_PLAIN_HTTP       true: http:// to another machine, where the key crosses the network in clear
  SQS_QUEUE_URL, SQS_DLQ_URL        the queue 'default'; OPSCONSOLE_QUEUES names others
  AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, and whatever boto3 finds credentials by
  OPSCONSOLE_MAPPING, OPSCONSOLE_COLUMNS, OPSCONSOLE_SCHEMA, OPSCONSOLE_POOLER_KEEPS_PLANS
  OPSCONSOLE_BEAT_INTERVAL_SECONDS, OPSCONSOLE_STALE_AFTER_SECONDS, OPSCONSOLE_MAX_ATTEMPTS,
  OPSCONSOLE_RETRY_BACKOFF_SECONDS, OPSCONSOLE_BODY_LIMIT_BYTES, OPSCONSOLE_REDACT_PATHS
  OPSCONSOLE_LOG_FORMAT             text or json

signals: SIGTERM or Ctrl-C lets the worker finish its run and stop; a second one ends it at once.
exit codes: 0 stopped as told; 2 wrong arguments, settings or handler; 1 an error of the program itself; that of
sys.exit() where a handler called it: its run is reported as failed first.
A database, console or queue that does not answer is no reason to exit: the worker waits.
"""


def main(arguments: Sequence[str]) -> int:
    """Run a worker until it is told to stop; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        consumer = _consumer(options)
    except (InvalidSetting, OpsConsoleError) as error:
        sys.stderr.write(f"opsconsole-worker: {error}\n")
        return REFUSED
    from opsconsole_worker.working.signals import drain_on_signals  # noqa: PLC0415 - see _consumer

    drain_on_signals(consumer)
    consumer.run()
    return STOPPED


def run() -> None:
    """End the process with the exit code of a worker. Handlers are found in the current folder, however this was started."""
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, str(Path.cwd()))
    tracebacks.hide_secrets()
    sys.exit(main(sys.argv[1:]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="opsconsole-worker",
        description="Run the jobs of a queue of the operations console with a handler, without the console.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--handler", help="dotted path of the function that runs a job")
    which.add_argument(
        "--handlers",
        metavar="MODULE",
        help="module with HANDLERS, a dict from names of queues to functions (default: the entry point of an installed "
        "package in the group opsconsole_worker that is named after the queue)",
    )
    parser.add_argument("--queue", default="default", help="name of the queue (default: default)")
    parser.add_argument("--max-jobs", type=_positive, metavar="N", help="stop after this many runs")
    parser.add_argument("--setup", metavar="FUNCTION", help="called once before the handler is imported")
    parser.add_argument("--before-run", metavar="FUNCTION", help="called before each run, in its thread")
    parser.add_argument(
        "--http",
        action="store_true",
        help="report to the API at OPSCONSOLE_URL, although DATABASE_URL is set",
    )
    parser.add_argument("--version", action="version", version=f"opsconsole-worker {__version__}")
    return parser


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(word)


def _consumer(options: argparse.Namespace) -> Consumer:
    """Return the worker that the arguments and the environment describe. Raise before anything is connected."""
    environment = Environment()
    console = _console(environment, forced=options.http)
    url = None if console else environment.database("DATABASE_URL", DATABASE_EXAMPLE, for_libpq=True)
    if not console and not url:
        raise InvalidSetting(
            f"DATABASE_URL must be set to a PostgreSQL URL such as {DATABASE_EXAMPLE}, or OPSCONSOLE_URL to the address of the "
            f"console such as {CONSOLE_EXAMPLE}."
        )
    queue = _queue(environment, options.queue)
    _log(environment)
    if console:
        _report_to_console(*console)
    elif url:
        _report_to_database(url, environment)
    # Statements are made of the mapping when they are imported, so its refusals are told here.
    from opsconsole_worker.working import consumer, handler_choice  # noqa: PLC0415

    if options.setup:
        handler_choice.loaded_function(options.setup)()
    handler = handler_choice.chosen(queue.name, path=options.handler, module=options.handlers)
    if options.before_run:
        handler = handler_choice.after(options.before_run, handler)
    # What is loaded now stays until the process ends.
    gc.collect()
    gc.freeze()
    return consumer.Consumer(queue, handler, max_jobs=options.max_jobs)


def _console(environment: Environment, *, forced: bool) -> tuple[str, str] | None:
    """Return the address of the console and a key, where the worker is to report to its API; otherwise None."""
    if not forced and environment.secret("DATABASE_URL"):
        return None
    url = environment.url("OPSCONSOLE_URL", ("https", "http"), CONSOLE_EXAMPLE)
    if not url:
        if forced:
            raise InvalidSetting(
                f"OPSCONSOLE_URL must be set to the address of the console, such as {CONSOLE_EXAMPLE}."
            )
        return None
    if urlsplit(url).query or urlsplit(url).fragment or urlsplit(url).username:
        environment.refuse("OPSCONSOLE_URL", f"a plain address such as {CONSOLE_EXAMPLE}")
    in_clear = environment.choice(ALLOW, "false", ("true", "false")) == "true"
    if not in_clear and urlsplit(url).scheme != "https" and not is_loopback(url):
        raise InvalidSetting(
            "OPSCONSOLE_URL must begin with https://: over http:// to another machine, everybody on the way can read the key. "
            f"Where nobody is, set {ALLOW}=true."
        )
    key = environment.secret("OPSCONSOLE_KEY")
    if not re.fullmatch("[!-~]+", key):
        environment.refuse(
            "OPSCONSOLE_KEY", "set to an API key with the scope worker, as the console showed it"
        )
    return url, key


def _report_to_console(url: str, key: str) -> None:
    from opsconsole_worker.reports import console_http, reporting, to_console  # noqa: PLC0415 - see _consumer

    reporting.use(to_console.ConsoleReports(console_http.ConsoleHttp(url, key)))


def _report_to_database(url: str, environment: Environment) -> None:
    from opsconsole_worker import settings  # noqa: PLC0415 - the log is needed first, and --help needs none of these
    from opsconsole_worker.database import direct, door  # noqa: PLC0415

    worker_settings = settings.of_environment(environment)
    door.use(direct.DirectDatabase(url, worker_settings.schema, shares_plans=worker_settings.shares_plans))


def _queue(environment: Environment, name: str) -> QueueConfig:
    queues = environment.queues("SQS_QUEUE_URL", "SQS_DLQ_URL", "OPSCONSOLE_QUEUES")
    if name not in queues:
        known = ", ".join(sorted(queues)) or "none; set SQS_QUEUE_URL"
        raise InvalidSetting(f"There is no queue named '{name}'. Known queues: {known}.")
    return queues[name]


def _log(environment: Environment) -> None:
    """Write lines on the standard error stream, unless the program around has decided otherwise."""
    from opsconsole_worker import known_secrets, log_lines  # noqa: PLC0415 - --help needs no log

    style = environment.choice("OPSCONSOLE_LOG_FORMAT", log_lines.TEXT, log_lines.FORMATS)
    handler = logging.StreamHandler()
    handler.setFormatter(log_lines.LineFormatter(style, known_secrets.secrets_of(os.environ)))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # It logs for each new client where the credentials come from.
    logging.getLogger("botocore").setLevel(logging.WARNING)
