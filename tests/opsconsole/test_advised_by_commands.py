"""The SQL that ``migrate``, ``move_tables`` and ``uninstall`` advise, followed in a database where all names need quotes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
import pytest
from django.conf import settings
from pytest_django.plugin import DjangoDbBlocker

from opsconsole import upgraded_grants
from tests.databases import CONTRACT, Database, drop

_STATEMENT = re.compile(
    r"\b(?:ALTER (?:AGGREGATE|DEFAULT|EVENT|ROLE)|GRANT|REVOKE) (?:[^;()]|\([^;()]*\))*(?=[;)])"
)
# Somebody grants again what the migration takes back, an aggregate has the place of the console's function, and the
# owner of the tables may not let others into their schema.
OBSTACLES = """
CREATE ROLE {owner} LOGIN;
CREATE ROLE {user} LOGIN;
CREATE ROLE {stranger} LOGIN;
ALTER ROLE {owner} SET search_path = "Job Manager";
ALTER ROLE {user} SET search_path = "Job Manager";
CREATE SCHEMA "Job Manager";
GRANT CREATE, USAGE ON SCHEMA "Job Manager" TO {owner};
GRANT USAGE ON SCHEMA "Job Manager" TO {stranger};
GRANT CREATE ON DATABASE {database} TO {owner};
SET ROLE {owner};
SET search_path = "Job Manager";
{contract}
CREATE AGGREGATE "Job Manager".find_stale_jobs(timestamptz) (SFUNC = timestamptz_larger, STYPE = timestamptz);
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {stranger};
RESET ROLE;
CREATE FUNCTION public."give It"() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass('opsconsole.django_migrations') IS NOT NULL AND pg_trigger_depth() = 0
       AND NOT has_table_privilege('{plain}', 'opsconsole.django_migrations', 'SELECT') THEN
        GRANT SELECT ON opsconsole.django_migrations TO {stranger};
    END IF;
END $$;
CREATE EVENT TRIGGER "Give It" ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'REVOKE') EXECUTE FUNCTION public."give It"();
"""


@dataclass(frozen=True)
class Walk:
    """A database with its roles: names as they are, and quoted ones."""

    database: Database
    number: int

    def name(self, kind: str) -> str:
        return f"{kind} of Jobs' {self.number}"

    def quoted(self, kind: str) -> str:
        return f'"{self.name(kind)}"'

    def run(self, *arguments: str) -> tuple[int, str, list[str]]:
        """Run a command; return its exit code, what it said, and the statements that it advises."""
        url = self.database.url(user=quote(self.name("Owner")))
        done = self.database.manage(
            *arguments,
            user=quote(self.name("User")),
            OPSCONSOLE_OWNER_DATABASE_URL=url,
        )
        said = done.stdout + done.stderr
        return done.returncode, said, _STATEMENT.findall(said)

    def follow(self, statements: list[str]) -> None:
        """Run them as somebody whose session looks elsewhere."""
        for statement in statements:
            self.database.sql(statement)


@pytest.fixture
def walk(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Walk]:
    described = settings.DATABASES["default"]
    server = {"host": described["HOST"], "user": described["USER"]}
    walk = Walk(Database(server, f"Their_{os.getpid()}"), os.getpid())
    roles = {kind.lower(): walk.quoted(kind) for kind in ("Owner", "User", "Stranger")}
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{walk.database.name}"')
        walk.database.sql(
            OBSTACLES.format(
                **roles,
                plain=walk.name("Stranger").replace("'", "''"),
                database=f'"{walk.database.name}"',
                contract=CONTRACT,
            )
        )
        with django_db_blocker.unblock():
            yield walk
        drop(walk.database)
        for role in roles.values():
            connection.execute(f"DROP ROLE {role}")


def _migrated(walk: Walk) -> tuple[str, list[str], list[str]]:
    """Follow each advice of ``migrate`` until it passes; return what it said then and advises then, and what it advised before."""
    advised: list[str] = []
    while True:
        code, said, statements = walk.run("migrate", "-v0")
        if code == 0:
            return said, statements, advised
        assert len(statements) == 1 and statements[0] not in advised, said
        advised += statements
        walk.follow(statements)


def test_what_commands_advise_is_followed_until_they_pass(walk: Walk) -> None:
    said, statements, advised = _migrated(walk)
    assert [" ".join(statement.split()[:2]) for statement in advised] == [
        "ALTER DEFAULT",
        "ALTER EVENT",
        "ALTER AGGREGATE",
    ]
    _what_the_role_lacks(walk, said, statements)
    _grants_by_name(walk)
    _moved_tables(walk)
    _left_privileges(walk)


def _what_the_role_lacks(walk: Walk, said: str, statements: list[str]) -> None:
    assert "Run them as a role that may" in said
    assert statements == [f'GRANT USAGE ON SCHEMA "Job Manager" TO {walk.quoted("User")}']
    walk.follow(statements)
    assert walk.run("migrate", "-v0")[::2] == (0, [])


def _grants_by_name(walk: Walk) -> None:
    stranger = walk.quoted("Stranger")
    walk.database.sql(f"GRANT SELECT ON opsconsole.auth_user TO {stranger}")
    with walk.database.as_default():
        *_, sentence = upgraded_grants.sentences([], walk.name("User"))
    walk.follow(_STATEMENT.findall(sentence))
    assert not walk.database.value(
        "SELECT has_table_privilege(%s, 'opsconsole.auth_user', 'SELECT')", [walk.name("Stranger")]
    )


def _moved_tables(walk: Walk) -> None:
    """A role with privileges on the tables finds them in their new place after what is advised."""
    stranger = walk.quoted("Stranger")
    walk.database.sql(f"GRANT SELECT ON opsconsole.job_events TO {stranger}")
    code, said, statements = walk.run("move_tables", "--to", "Job Manager")
    assert code == 0 and len(statements) == 1, said
    walk.follow(statements)
    login = walk.database.server | {"user": walk.name("Stranger"), "dbname": walk.database.name}
    with psycopg.connect(**login) as connection:
        assert connection.execute("SELECT count(*) FROM job_events").fetchone() == (0,)


def _left_privileges(walk: Walk) -> None:
    """What somebody else granted for the console, somebody else has to revoke."""
    code, said, _ = walk.run("uninstall", "--yes")
    _, refused, advised = said.partition("Run it as a role that may: ")
    assert code == 0 and refused, said
    usage = "SELECT has_schema_privilege(%s, 'Job Manager', 'USAGE')"
    assert walk.database.value(usage, [walk.name("User")])
    walk.follow(_STATEMENT.findall(advised))
    assert not walk.database.value(usage, [walk.name("User")])
