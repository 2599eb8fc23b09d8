"""Every sentence of the inspection that advises SQL is held by running that SQL, on names that need quotes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from pytest_django.plugin import DjangoDbBlocker

from tests.attach.mapped import NO_QUEUE
from tests.databases import CONTRACT, REPOSITORY, Database, drop
from tests.jobs.inspection.advised import MAPPING, TABLES

ADVISES = re.compile(r"\b(ALTER|GRANT|REVOKE|CREATE|DROP|INSERT INTO|UPDATE) (?!PAGE)[A-Z{]")
# About where sessions look, which a transaction can't try: see the last test.
OF_SESSIONS = {"jobs-elsewhere", "table-missing", "search-path"}
# Put together by a function, of a command.
WITHOUT_SQL = {"own-schema"}


@pytest.fixture
def quoted(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    """Yield an empty database whose name needs quotes."""
    described = settings.DATABASES["default"]
    server = {"host": described["HOST"], "user": described["USER"]}
    database = Database(server, f"Their_{os.getpid()}")
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database.name}"')
    with django_db_blocker.unblock():
        yield database
    drop(database)


def advising() -> set[str]:
    """Return the kinds of findings whose action holds SQL, or is put together by a function."""
    kinds = set()
    for path in (REPOSITORY / "jobs" / "inspection").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "Finding":
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            kind, action = given["id"], given.get("action", ast.Constant(""))
            parts = [part.value for part in ast.walk(action) if isinstance(part, ast.Constant)]
            composed = any(_composes(part) for part in ast.walk(action))
            if isinstance(kind, ast.Constant) and (composed or ADVISES.search("{}".join(map(str, parts)))):
                kinds.add(str(kind.value))
    return kinds


def _composes(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in {"add", "action"}
    return isinstance(node, ast.Call) and getattr(node.func, "attr", "") != "join"


def test_what_is_advised_runs_and_mends(quoted: Database, tmp_path: Path) -> None:
    quoted.sql(TABLES)
    file = tmp_path / "mapping.toml"
    file.write_text(MAPPING)
    done = subprocess.run(
        [sys.executable, "-m", "tests.jobs.inspection.advised"],
        cwd=REPOSITORY,
        env=os.environ
        | {"DATABASE_URL": quoted.url(), "OPSCONSOLE_MAPPING": str(file), "SQS_QUEUE_URL": NO_QUEUE},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    tried = set(json.loads(done.stdout.splitlines()[-1]))
    assert tried & advising(), "the search for advice found none"
    assert advising() <= tried | OF_SESSIONS | WITHOUT_SQL


def test_sessions_look_where_is_advised(quoted: Database) -> None:
    quoted.sql('CREATE SCHEMA "Job Manager"; SET search_path = "Job Manager";' + CONTRACT)
    quoted.sql(
        """INSERT INTO "Job Manager".jobs (customer_id, package_size, status) VALUES ('a', 1, 'pending'), ('a', 1, 'in_progress')"""
    )
    quoted.sql(f'ALTER DATABASE "{quoted.name}" SET search_path = "Job Manger", public')

    advice = {
        each["id"]: each
        for each in quoted.inspect()[1]
        if each["id"] in OF_SESSIONS and "ALTER ROLE" in each["action"]
    }

    assert advice.keys() == OF_SESSIONS
    assert '"Job Manger", and there is no such schema' in advice["search-path"]["found"]
    assert 'There is "Job Manager"' in advice["search-path"]["found"]
    for each in advice.values():
        [statement] = re.findall(r"ALTER ROLE [^;]*;", each["action"])
        role = quoted.server["user"]
        quoted.sql(statement)
        code, findings = quoted.inspect()
        assert code == 0, findings
        assert not [finding for finding in findings if finding["id"] in OF_SESSIONS - {"table-missing"}]
        quoted.sql(f'ALTER ROLE "{role}" IN DATABASE "{quoted.name}" RESET search_path')
