"""The console behind a pooler in transaction mode, with an owner of the tables and a role of its own for the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from tests.conftest import TestQueue
from tests.field import pooler
from tests.field.console import NAME, OWNER, PASSWORD, RUNTIME, SECRET_KEY, Console
from tests.field.installed import installed
from tests.field.proxy import HOST
from tests.field.visitor import Visitor

if TYPE_CHECKING:
    from pytest_django.plugin import DjangoDbBlocker

    from tests.databases import Database


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("field-var")


@pytest.fixture(scope="session")
def migrated(static_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Create the database that each test gets a copy of, with the console's tables and a user."""
    from tests import databases  # imports models, which need the settings

    for program in ("nginx", "pgbouncer"):
        installed(program)
    original = databases.create(settings.DATABASES["default"])
    try:
        original.sql(
            f"""DO $$ BEGIN CREATE ROLE {OWNER} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
            DO $$ BEGIN CREATE ROLE {RUNTIME} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
            ALTER DATABASE "{original.name}" OWNER TO {OWNER}; ALTER SCHEMA public OWNER TO {OWNER};"""
        )
        console = Console(
            tmp_path_factory.mktemp("field-migrate"),
            original,
            production(static_folder) | roles(original),
        )
        user = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        for words in (
            ("migrate", "-v0"),
            ("collectstatic", "--noinput", "-v0"),
            ("createsuperuser", "--noinput", "--username", NAME, "--email", ""),
        ):
            done = console.run(*words, **user)
            assert done.returncode == 0, done.stderr
        yield original
    finally:
        databases.drop(original)


@pytest.fixture
def template(migrated: Database) -> str:
    """Return the database that the test gets a copy of; a test may override this."""
    return migrated.name


@pytest.fixture
def database(migrated: Database, template: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """Create a copy of the template. Its roles are those of production: an owner, and one for everything else."""
    from tests import databases  # imports models, which need the settings

    copy = databases.Database(migrated.server, f"{migrated.name}_copy")
    with psycopg.connect(**migrated.server, dbname="postgres", autocommit=True) as server:
        names = [sql.Identifier(each) for each in (copy.name, template, OWNER)]
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*names))
    copy.sql(f"ALTER SCHEMA public OWNER TO {OWNER}")
    with django_db_blocker.unblock():
        yield copy
    databases.drop(copy)


@pytest.fixture
def pooler_port(database: Database, tmp_path: Path) -> Iterator[int]:
    with pooler.pgbouncer(tmp_path, server=database.server["host"], roles=(RUNTIME,)) as port:
        yield port


@pytest.fixture
def console(
    database: Database, pooler_port: int, sqs_queue: TestQueue, static_folder: Path, tmp_path: Path
) -> Console:
    """Return the console with its database behind pgbouncer; start what the test needs of it."""
    reached = {
        **roles(database),
        "DATABASE_URL": pooler.url(pooler_port, RUNTIME, database.name),
        "SQS_QUEUE_URL": sqs_queue.url,
        "SQS_DLQ_URL": sqs_queue.dlq_url,
    }
    return Console(tmp_path, database, production(static_folder) | reached)


@pytest.fixture
def visitor(console: Console) -> Iterator[Visitor]:
    """Serve the console, and return a client that has not logged in."""
    with console.served() as proxy, Visitor(proxy) as client:
        yield client


def roles(database: Database) -> dict[str, str]:
    """Return the environment of a deployment with two roles, both on direct connections."""
    return {
        "OPSCONSOLE_OWNER_DATABASE_URL": database.url(user=OWNER),
        "DATABASE_URL": database.url(user=RUNTIME),
    }


def production(static_folder: Path) -> dict[str, str]:
    return {
        "OPSCONSOLE_ENV": "production",
        "OPSCONSOLE_SECRET_KEY": SECRET_KEY,
        "OPSCONSOLE_ALLOWED_HOSTS": HOST,
        "OPSCONSOLE_TRUSTED_PROXIES": "127.0.0.1",
        # The same as in this process, so that a test can create keys.
        "OPSCONSOLE_API_KEY_PEPPERS": settings.SECRET_KEY,
        "OPSCONSOLE_VAR_DIR": str(static_folder),
        "CACHE_URL": os.environ["CACHE_URL"],
        "SQS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
        "SQS_DLQ_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs-dlq",
    }
