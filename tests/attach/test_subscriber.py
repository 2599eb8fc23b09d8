"""A publication with a live subscriber in another server: it goes on through attaching and leaving, as the inspection says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from django.conf import settings
from pytest_django.plugin import DjangoDbBlocker

from opsconsole.embedded.postgres import start_postgres
from tests import databases
from tests.attach.pieces import piece_of
from tests.databases import Database
from tests.waiting import wait_until

SUBSCRIBE = (
    "CREATE SUBSCRIPTION {name} CONNECTION 'host={host} user=postgres dbname=postgres' PUBLICATION warehouse"
)
STOPS = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s"
ROWS = "SELECT id, status, updated_at FROM jobs ORDER BY id"


@pytest.fixture
def publisher(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """Yield a database with the piece, in a server that keeps what logical replication needs."""
    folder = tmp_path / "publisher"
    with (
        start_postgres(folder, throwaway=True) as server,
        psycopg.connect(server.url, autocommit=True) as connection,
    ):
        connection.execute("ALTER SYSTEM SET wal_level = logical")
    with start_postgres(folder, throwaway=True) as server:
        host = parse_qs(urlsplit(server.url).query)["host"][0]
        database = Database({"host": host, "user": "postgres"}, "postgres")
        with database.connect() as connection:
            piece_of("publication").load(connection)
        with django_db_blocker.unblock():
            yield database


@pytest.fixture
def subscribers(publisher: Database, django_db_setup: None) -> Iterator[list[Database]]:
    """Yield two databases of the tests' server that have the rows already."""
    made = [databases.create(settings.DATABASES["default"]) for _ in range(2)]
    for database in made:
        database.sql(piece_of("publication").sql.partition("CREATE TABLE worker_heartbeats")[0])
        database.sql(SUBSCRIBE.format(name=database.name, host=publisher.server["host"]))
    wait_until(lambda: all(each.sql(ROWS) == publisher.sql(ROWS) for each in made), 60)
    yield made
    for database in made:
        for change in ("DISABLE", "SET (slot_name = NONE)"):
            database.sql(f"ALTER SUBSCRIPTION {database.name} {change}")
        database.sql(f"DROP SUBSCRIPTION {database.name}")
        databases.drop(database)


def test_subscriber_that_follows_the_advice_goes_on_and_another_one_stops(
    publisher: Database, subscribers: list[Database]
) -> None:
    warned, careless = subscribers
    [finding] = [each for each in publisher.inspect()[1] if each["id"] == "publication"]
    assert "stops replicating at the first change after that" in finding["found"]
    warned.sql(finding["action"].partition("migrate: ")[2])

    publisher.migrate()
    publisher.sql(
        "UPDATE jobs SET status = 'pending', run_epoch = 2, updated_at = now() WHERE status = 'in_progress'"
    )

    wait_until(lambda: _epochs(warned) == _epochs(publisher), 60)
    wait_until(lambda: careless.value(STOPS, [careless.name]), 60)

    assert publisher.manage("uninstall", "--yes").returncode == 0
    publisher.sql("INSERT INTO jobs (customer_id, package_size) VALUES ('after', 1)")
    wait_until(lambda: warned.sql(ROWS) == publisher.sql(ROWS), 60)


def _epochs(database: Database) -> list[tuple[Any, ...]]:
    return database.sql("SELECT id, run_epoch FROM jobs ORDER BY id")
