"""Real services for the tests: each test run has its own PostgreSQL, Valkey and SQS emulator.

They start in a temporary folder before Django reads its settings, and stop with the test run, even if it is killed.
Under pytest-xdist the workers share PostgreSQL (one database each) and Valkey (one numbered database each); every
process has its own SQS emulator.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import hypothesis
import pytest

from opsconsole import embedded
from opsconsole_worker.environment import QueueConfig

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.fixtures import Settings
    from pytest_django.plugin import DjangoDbBlocker
    from types_boto3_sqs import SQSClient

    from tests.counting import Counted
    from tests.databases import Database

OURS = (
    "OPSCONSOLE_",
    "SENTRY_",
    "OTEL_",
    "SQS_",
    "AWS_",
    "SLACK_",
    "DATABASE_",
    "CACHE_",
    "DJANGO_SETTINGS_MODULE",
    "PG",
)
FOLDER = "TEST_SERVICES_FOLDER"
MAX_RECEIVE_COUNT = 3
# What a test records under this name is printed at the end of the test run.
SUMMARY = "printed at the end"


def pytest_configure(config: pytest.Config) -> None:
    """Start the services and let Django read the settings that name them."""
    # Others use the machine, too: how long an example takes decides nothing.
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("untimed")
    services = ExitStack()
    config.add_cleanup(services.close)
    folder = os.environ.get(FOLDER) or _temporary_folder(services)
    use_only_test_settings(folder)
    _keep_compiled_modules()
    for name, service in _start(Path(folder)).items():
        services.callback(service.stop)
        os.environ[name] = service.url
    os.environ["CACHE_URL"] += f"?db={_worker_number()}"
    _load_settings()


def pytest_sessionstart() -> None:
    """Register the pages of the admin, which many modules list."""
    from opsconsole.kit import admin_pages

    admin_pages.site()


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what lives until the end, Django and all tests, and look less often at the rest."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == SUMMARY and report.when == "call":
                terminalreporter.write_line(str(text))


def _temporary_folder(services: ExitStack) -> str:
    folder = tempfile.mkdtemp(prefix="opsconsole-tests-")
    # Workers of pytest-xdist inherit the environment.
    os.environ[FOLDER] = folder
    services.callback(os.environ.pop, FOLDER)
    services.callback(shutil.rmtree, folder)
    return folder


def use_only_test_settings(folder: str) -> None:
    """Keep the developer's environment variables away from the tests."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": "development",
        "OPSCONSOLE_VAR_DIR": f"{folder}/var",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _keep_compiled_modules() -> None:
    """Let this process and those that it starts compile each module once, whatever the environment says."""
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _start(folder: Path) -> dict[str, embedded.Service]:
    """Start or find the services; return them by the environment variable that names each."""
    return {
        "DATABASE_URL": embedded.start_postgres(folder / "postgres", throwaway=True),
        "CACHE_URL": embedded.start_valkey(folder / "valkey"),
        "AWS_ENDPOINT_URL": embedded.start_sqs(folder / f"sqs-{_worker_number()}"),
    }


def _worker_number() -> int:
    """Return 1, 2, ... in a pytest-xdist worker, 0 in the main process."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1


def _load_settings() -> None:
    from django.conf import settings

    from opsconsole.kit import schema_version

    # A worker of pytest-xdist inherits DJANGO_SETTINGS_MODULE, so it read the settings before its services started.
    settings.AWS_ENDPOINT_URL = os.environ["AWS_ENDPOINT_URL"]
    settings.CACHES["default"]["LOCATION"] = os.environ["CACHE_URL"]
    settings.OPSCONSOLE_RATE_LIMIT_STORE = os.environ["CACHE_URL"]
    # The tests' database is always migrated. Tests without a database must not ask it.
    schema_version._version.missing = False
    # A test may be idle inside its transaction for longer than the console ever is.
    settings.DATABASES["default"]["OPTIONS"]["options"] = "-c idle_in_transaction_session_timeout=0"
    _let_tests_empty_tables_quickly()
    # Every client of a test reads the middleware anew, and WhiteNoise would look at each static file: it looks when one is asked for.
    settings.WHITENOISE_AUTOREFRESH = True
    # Secure password hashing is slow on purpose.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


# Emptying a table with TRUNCATE makes new files for it and each of its indexes, which takes longer than deleting a few rows.
EMPTY = """
DO $empty$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[{names}] LOOP
        IF pg_relation_size(name::regclass) < 100000 THEN
            EXECUTE 'DELETE FROM ' || name;
        ELSE
            EXECUTE 'TRUNCATE ' || name || ' CASCADE';
        END IF;
    END LOOP;
END $empty$
"""


def _let_tests_empty_tables_quickly() -> None:
    """Let the tests' flush switch triggers off, as superusers can: they refuse to empty the append-only tables."""
    from django.core.management.commands import flush
    from django.db.backends.postgresql.operations import DatabaseOperations

    from tests import first_rows  # it reads the settings

    def sql_flush(self: DatabaseOperations, _style: Any, tables: list[str], **_options: Any) -> list[str]:
        first_rows.note_emptied()
        names = ", ".join(f"'{self.quote_name(table)}'" for table in tables if table not in first_rows.KEPT)
        return [
            "SET LOCAL session_replication_role = replica",
            EMPTY.format(names=names),
            "SET LOCAL session_replication_role = DEFAULT",
        ]

    DatabaseOperations.sql_flush = sql_flush  # type: ignore[method-assign, assignment]  # for all tests
    flush.emit_post_migrate_signal = lambda *_args, **_options: None  # type: ignore[attr-defined]  # for all tests


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Keep what the migrations of the tests' database wrote."""
    from tests import first_rows  # it reads the settings

    with django_db_blocker.unblock():
        first_rows.keep()


@pytest.fixture(autouse=True)
def rows_of_migrations(request: pytest.FixtureRequest) -> None:
    """Let a test in a transaction find what migrations wrote, whichever test ran before it."""
    from tests import first_rows  # it reads the settings

    needed = "_django_db_helper"
    if request.node.get_closest_marker("django_db") or needed in request.fixturenames:
        request.getfixturevalue(needed)
        first_rows.put_back()


@pytest.fixture(autouse=True)
def memories() -> None:
    """Start each test without what the console remembered of an earlier one for some seconds, or until the process ends."""
    from tests import memories  # it reads the settings

    memories.empty()


@pytest.fixture(autouse=True)
def unlimited_statements() -> None:
    """Start each test without the limits of processes that serve pages: loading what serves them sets these for a whole process."""
    from django.db import connection
    from django.db.backends.signals import connection_created

    from opsconsole import timeouts  # it reads the settings
    from opsconsole.kit import answer_limit

    connection_created.disconnect(timeouts._limit_statements_of)
    connection.execute_wrappers[:] = [
        each for each in connection.execute_wrappers if each is not timeouts._limited
    ]
    answer_limit._of_process = None


@pytest.fixture(autouse=True)
def limiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test without counts, with the built-in policies, and without limiter threads."""
    from ratelimits.identity import untrusted_forwarding
    from ratelimits.records import background_thread, troubles
    from tests import limiter_state

    monkeypatch.setattr(background_thread, "ensure_running", lambda: None)
    monkeypatch.setattr(troubles, "_unstated_processes", False)
    monkeypatch.setattr(troubles, "_absent", set())
    monkeypatch.setattr(untrusted_forwarding, "_peers", [])
    monkeypatch.setattr(untrusted_forwarding, "_unread", [])
    limiter_state.use_built_in()
    limiter_state.clear_counts()


@dataclass(frozen=True)
class TestQueue:
    """A queue and its dead letter queue on the emulator; ``client`` is the test's own view of them."""

    __test__ = False

    url: str
    dlq_url: str
    client: SQSClient

    def bodies(self, url: str | None = None) -> list[str]:
        """Receive every message that is visible now (in the queue, or in ``url``) and return the bodies."""
        taken: list[str] = []
        while messages := self.client.receive_message(
            QueueUrl=url or self.url, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            taken += [message["Body"] for message in messages]
        return taken


@pytest.fixture
def operator(client: Client) -> Client:
    """Return a client that is signed in as an operator with all permissions."""
    from tests import people  # imports models, which need the settings

    client.force_login(people.operator())
    return client


@pytest.fixture(scope="session")
def sqs_client() -> SQSClient:
    return boto3.client("sqs", region_name="us-east-1", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


@pytest.fixture
def sqs_queue(sqs_client: SQSClient, settings: Settings) -> Iterator[TestQueue]:
    """Create a queue named ``default``, which moves a message to its dead letter queue after 3 receives."""
    name = f"jobs-{uuid.uuid4().hex[:12]}"
    dlq_url = sqs_client.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    described = sqs_client.get_queue_attributes(QueueUrl=dlq_url, AttributeNames=["QueueArn"])
    policy = {
        "deadLetterTargetArn": described["Attributes"]["QueueArn"],
        "maxReceiveCount": MAX_RECEIVE_COUNT,
    }
    made = sqs_client.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
    url = made["QueueUrl"]
    settings.QUEUES = {"default": QueueConfig("default", url, dlq_url)}
    yield TestQueue(url, dlq_url, sqs_client)
    for each in (url, dlq_url):
        sqs_client.delete_queue(QueueUrl=each)


@pytest.fixture(scope="session")
def metrics_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics-var")


@pytest.fixture
def counted(settings: Settings, metrics_folder: Path) -> Counted:
    """Count for /metrics, and return what was counted since the test began."""
    from opsconsole.kit import metric_files  # it reads the settings
    from tests.counting import TOKEN, Counted  # imports the former

    settings.OPSCONSOLE_METRICS_TOKENS = [TOKEN]
    settings.OPSCONSOLE_METRICS_DIR = metrics_folder
    folder = metric_files.folder()
    assert folder
    return Counted(folder)


@pytest.fixture
def theirs(settings: Settings, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """Create an empty database that belongs to another application, for the tests that attach to one."""
    from tests import databases  # imports models, which need the settings

    database = databases.create(settings.DATABASES["default"])
    with django_db_blocker.unblock():
        yield database
    databases.drop(database)


@pytest.fixture(scope="session")
def attached_once(django_db_blocker: DjangoDbBlocker) -> Iterator[Callable[[str], Database]]:
    """Return a function that creates a database with these tables, attaches the console, and finds it when asked again."""
    from django.conf import settings

    from tests import databases  # imports models, which need the settings

    made: dict[str, Database] = {}

    def once(tables: str) -> Database:
        if tables not in made:
            made[tables] = databases.create(settings.DATABASES["default"])
            if tables:
                made[tables].sql(tables)
            made[tables].migrate()
        return made[tables]

    yield once
    for database in made.values():
        databases.drop(database)


@pytest.fixture
def attach(
    attached_once: Callable[[str], Database], django_db_blocker: DjangoDbBlocker
) -> Iterator[Callable[[str], Database]]:
    """Return a function that creates a database with these tables, to which ``migrate`` has attached the console.

    It is for tests of what comes afterwards: ``migrate`` takes seconds, so it runs once for the same tables, and each test gets
    a copy.
    """
    from tests import databases  # imports models, which need the settings

    copies: list[Database] = []

    def copy(tables: str) -> Database:
        copies.append(databases.copy(attached_once(tables)))
        return copies[-1]

    with django_db_blocker.unblock():
        yield copy
    for database in copies:
        databases.drop(database)


@pytest.fixture
def rules_without_delay(db: None) -> None:
    """Let alerts resolve with the first value below the threshold, and send all news at once."""
    from alerts import rules  # once settings are there: it imports models
    from alerts.models import Rule

    stored = list(rules.all_by_name().values())
    for rule in stored:
        rule.keep_firing_for = rule.news_interval = timedelta(0)
    Rule.objects.bulk_create(
        stored,
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["keep_firing_for", "news_interval"],
    )
