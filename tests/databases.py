"""Databases of other applications, created with plain SQL, and console commands run on them as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.db import connections

from jobs.inspection import blockers, inspect_database
from opsconsole.kit import changed_tables

REPOSITORY = Path(__file__).resolve().parent.parent

CONTRACT = """
CREATE TABLE jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    customer_id text NOT NULL,
    package_size int NOT NULL,
    priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending',
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    completed_at timestamptz
);
CREATE TABLE worker_heartbeats (
    worker_id text PRIMARY KEY,
    current_job_id uuid,
    last_heartbeat timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True)
class Database:
    """A separate database on the tests' server."""

    server: dict[str, Any]
    name: str

    def connect(self, user: str = "") -> psycopg.Connection[tuple[Any, ...]]:
        # The console's own tables are found, and tables are created where those of other programs are.
        path = "-c search_path=public,opsconsole"
        server = self.server | ({"user": user} if user else {})
        return psycopg.connect(**server, dbname=self.name, autocommit=True, options=path)

    def sql(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        return self.sql(statement, parameters)[0][0]

    def url(self, *, user: str = "", search_path: str = "", host: str = "") -> str:
        folder = quote(host or self.server["host"], safe="")
        url = f"postgres://{user or self.server['user']}@/{self.name}?host={folder}"
        return url + (f"&options=-c%20search_path%3D{quote(search_path)}" if search_path else "")

    def manage(
        self, *arguments: str, user: str = "", search_path: str = "", host: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the console's commands on this database."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env=os.environ
            | {"DATABASE_URL": self.url(user=user, search_path=search_path, host=host)}
            | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def migrate(self, **options: str) -> None:
        done = self.manage("migrate", "-v0", **options)
        assert done.returncode == 0, done.stderr

    def inspect(self, **options: str) -> tuple[int, list[dict[str, str]]]:
        """Return exit code and findings of ``inspect_database --json``; with options, run it as a process."""
        if options:
            done = self.manage("inspect_database", "--json", **options)
            assert not done.stderr, done.stderr
            return done.returncode, json.loads(done.stdout)
        with self.as_default():
            findings = inspect_database()
        return int(bool(blockers(findings))), [asdict(finding) for finding in findings]

    @contextmanager
    def as_default(self) -> Iterator[None]:
        """Point Django's default connection here for a while, also in threads that start meanwhile."""
        usual, described = connections["default"], connections.settings["default"]
        here = usual.copy()
        here.settings_dict = described | {"NAME": self.name, "HOST": self.server["host"]}
        connections["default"], connections.settings["default"] = here, here.settings_dict
        try:
            yield
        finally:
            here.close()
            # What was seen in that database says nothing about the other.
            changed_tables._last_answer["changed"] = False
            connections["default"], connections.settings["default"] = usual, described


def create(described: Mapping[str, Any]) -> Database:
    """Create an empty database next to the tests' own, on the server of ``settings.DATABASES["default"]``."""
    server = {"host": described["HOST"], "user": described["USER"]}
    database = Database(server, f"theirs_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database.name}"')
    return database


# What ``migrate`` lets a role have in its database, such as a lock_timeout, is stored beside the databases.
SETTINGS = """
SELECT rolname, split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
  FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase JOIN pg_roles AS r ON r.oid = setrole,
       unnest(setconfig) AS setting
 WHERE datname = %s
"""


def copy(of: Database) -> Database:
    """Create another database with the same tables, rows and settings. Nobody may be connected to the first one."""
    copied = Database(of.server, f"theirs_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(**of.server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{copied.name}" TEMPLATE "{of.name}"')
        for role, name, value in connection.execute(SETTINGS, [of.name]).fetchall():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
            connection.execute(f'ALTER ROLE "{role}" IN DATABASE "{copied.name}" SET {name} FROM CURRENT')
    return copied


def drop(database: Database) -> None:
    with psycopg.connect(**database.server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{database.name}" WITH (FORCE)')
