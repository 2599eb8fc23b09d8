"""Tests that nothing of the console is left in a database, and that everything of others is as it was."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connection

from opsconsole.kit import kept_functions
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.leaving import removal
from opsconsole.seals import exported
from tests import databases, dumps
from tests.databases import REPOSITORY, Database
from tests.waiting import wait_until

# Of the console's columns, two are theirs: one is where the console would not look for its own, and one was added last.
THEIRS = """
CREATE SCHEMA app AUTHORIZATION {owner};
SET ROLE {owner};
SET check_function_bodies = off;
CREATE TABLE app.jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer_id text NOT NULL, package_size int NOT NULL,
    queue text NOT NULL DEFAULT 'default', priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending', error_message text, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, completed_at timestamptz,
    payload jsonb NOT NULL DEFAULT '{{}}', number serial
);
CREATE INDEX jobs_status ON app.jobs (status, queue);
CREATE TABLE app.worker_heartbeats (
    worker_id text PRIMARY KEY, current_job_id uuid, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app.rate_limit_requests (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), key text NOT NULL, endpoint text NOT NULL, method text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE VIEW app.open_jobs AS SELECT id, status, queue FROM app.jobs WHERE status <> 'completed';
GRANT USAGE ON SCHEMA app TO {worker}, {runtime};
GRANT SELECT, UPDATE (status, error_message) ON app.jobs TO {worker};
GRANT SELECT, DELETE ON app.jobs TO {runtime};
GRANT ALL ON app.worker_heartbeats TO {worker} WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO {worker};
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT EXECUTE ON FUNCTIONS TO {worker};
CREATE FUNCTION app.find_stale_jobs(before_time timestamptz) RETURNS SETOF app.jobs
    LANGUAGE sql STABLE SECURITY DEFINER COST 7 ROWS 50 SET work_mem = '8MB'
    AS $q$ SELECT * FROM jobs WHERE updated_at < before_time AND status <> 'it''s %s' $q$;
REVOKE ALL ON FUNCTION app.find_stale_jobs(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.find_stale_jobs(timestamptz) TO {worker} WITH GRANT OPTION;
COMMENT ON FUNCTION app.find_stale_jobs(timestamptz) IS 'Theirs: 100 % "quoted"';
CREATE FUNCTION app.cleanup_rate_limit_requests() RETURNS bigint LANGUAGE sql BEGIN ATOMIC
    WITH gone AS (DELETE FROM app.rate_limit_requests WHERE created_at < now() RETURNING 1) SELECT count(*) FROM gone; END;
RESET ROLE;
ALTER ROLE {runtime} IN DATABASE "{name}" SET lock_timeout = '3min';
ALTER ROLE {runtime} IN DATABASE "{name}" SET work_mem = '5MB';
ALTER DATABASE "{name}" SET search_path = app, public;
INSERT INTO app.jobs (customer_id, package_size, queue, payload)
    SELECT 'c' || i, i, 'q' || i % 3, jsonb_build_object('i', i) FROM generate_series(1, 500) i;
INSERT INTO app.worker_heartbeats (worker_id) VALUES ('w');
"""
ROWS = """
SELECT md5(string_agg(j::text, '' ORDER BY number)) FROM
    (SELECT id, customer_id, package_size, queue, priority_level, status, error_message, created_at, updated_at, started_at,
            completed_at, payload, number FROM app.jobs) AS j
"""
EVENTS = """
INSERT INTO job_events (job_id, run_epoch, kind, actor, reason, details)
SELECT gen_random_uuid(), 1, 'note', 'w', 'event ' || i,
       jsonb_build_object('text', 'caf\u00e9', 'n', 1.50) FROM generate_series(1, 2500) i
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'
"""


@dataclass(frozen=True)
class Installed:
    """A database of others. The console has two roles there, or only the owner's, and then the schema ``public``."""

    database: Database
    roles: dict[str, str]
    settings: Any
    has_two_roles: bool = True

    @property
    def environment(self) -> dict[str, str]:
        """Return what differs for commands as processes."""
        owner = self.database.url(user=self.roles["owner"])
        if self.has_two_roles:
            return {"user": self.roles["runtime"], "OPSCONSOLE_OWNER_DATABASE_URL": owner}
        return {"user": self.roles["owner"], "OPSCONSOLE_SCHEMA": "public"}

    def call(self, *words: str) -> str:
        """Run a command in this process; return what it says."""
        environment = self.environment
        self.settings.OPSCONSOLE_OWNER_DATABASE_URL = environment.get("OPSCONSOLE_OWNER_DATABASE_URL", "")
        self.settings.OPSCONSOLE_SCHEMA = environment.get("OPSCONSOLE_SCHEMA", "opsconsole")
        said = io.StringIO()
        ContentType.objects.clear_cache()
        try:
            with self.database.as_default():
                connection.settings_dict["USER"] = environment["user"]
                call_command(*words, stdout=said, stderr=said)
        finally:
            ContentType.objects.clear_cache()
        return said.getvalue()

    def sessions(self) -> int:
        """Count the sessions of the console."""
        count: int = self.database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'opsconsole'"
        )
        return count


@pytest.fixture
def installed(theirs: Database, settings: Any) -> Iterator[Installed]:
    roles = {name: f"{name}_{theirs.name}" for name in ("owner", "runtime", "worker")}
    for role in roles.values():
        theirs.sql(f"CREATE ROLE {role} LOGIN")
    theirs.sql(
        f'GRANT CREATE ON DATABASE "{theirs.name}" TO {roles["owner"]}; GRANT ALL ON SCHEMA public TO {roles["owner"]}'
    )
    theirs.sql(THEIRS.format(name=theirs.name, **roles))
    yield Installed(theirs, roles, settings)
    for role in roles.values():
        theirs.sql(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_everything_is_as_before_and_attaching_again_is_like_the_first_time(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = installed.database
    before, rows = dumps.schema(theirs), theirs.sql(ROWS)
    theirs.migrate(**installed.environment)
    theirs.sql(EVENTS)
    looking, exporting, verifying = documented_commands(tmp_path / "export")
    _changes_nothing_at_first(installed, looking)

    _dies(installed, kept_functions, "put_back", monkeypatch)
    _is_killed(installed, exporting)
    for step in ("_drop_columns", "_revoke", "_leave_shared_tables"):
        _dies(installed, removal, step, monkeypatch)
    assert "An uninstall was interrupted. This one finishes it." in installed.call("uninstall", "--dry-run")
    assert "The console has left this database." in installed.call("uninstall", "--yes")

    assert dumps.schema(theirs) == before
    assert theirs.sql(ROWS) == rows
    assert "has nothing in this database" in installed.call("uninstall", "--yes")
    _export_is_verifiable(installed, verifying, tmp_path / "export")

    theirs.sql("DROP TABLE app.rate_limit_requests CASCADE; DROP FUNCTION app.find_stale_jobs(timestamptz)")
    _attach_again(replace(installed, has_two_roles=False))
    assert theirs.sql(ROWS) == rows


def documented_commands(folder: Path) -> list[list[str]]:
    """Return the commands of docs/leaving.md, with this folder for the one that they name."""
    text = (REPOSITORY / "docs" / "leaving.md").read_text()
    commands = re.findall(r"^ +python manage.py (.+)$", text, re.MULTILINE)
    return [command.replace("audit-export", str(folder)).split() for command in commands]


def _changes_nothing_at_first(installed: Installed, looking: list[str]) -> None:
    """Check the dry run, and what an uninstall refuses."""
    theirs = installed.database
    attached = dumps.schema(theirs)
    planned = installed.call(*looking)
    assert (
        "app.jobs loses the columns run_epoch, claimed_epoch, recovery_count, attempts, not_before,"
        in planned
    )
    assert "app.find_stale_jobs(timestamptz) is replaced by the function that was there before." in planned
    assert "queue" not in planned.replace("job_queue", "")
    with (
        theirs.connect(user=installed.roles["runtime"]) as session,
        pytest.raises(CommandError, match=f"still connected: pid {session.info.backend_pid}, role runtime_"),
    ):
        installed.call("uninstall", "--yes")
    theirs.sql(
        "CREATE VIEW app.epochs AS SELECT id, run_epoch FROM app.jobs; CREATE INDEX by_attempts ON app.jobs (attempts)"
    )
    with pytest.raises(
        CommandError, match=re.escape("View epochs depends on a column of the console on app.jobs")
    ):
        installed.call("uninstall", "--yes")
    theirs.sql("DROP VIEW app.epochs")
    assert "Index by_attempts goes as well" in installed.call("uninstall", "--dry-run")
    theirs.sql("DROP INDEX app.by_attempts")
    with pytest.raises(CommandError, match="Nobody can be asked here"):
        installed.call("uninstall")
    assert dumps.schema(theirs) == attached


def _is_killed(installed: Installed, words: list[str]) -> None:
    """Answer at a terminal, and kill an uninstall, which exported, while it waits for an older transaction to drop an index."""
    theirs, environment = installed.database, dict(installed.environment)
    terminal, its_end = pty.openpty()
    with theirs.connect() as older:
        older.autocommit = False
        older.execute("SELECT count(*) FROM app.jobs")
        process = subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=REPOSITORY,
            env=os.environ | {"DATABASE_URL": theirs.url(user=environment.pop("user"))} | environment,
            stdin=its_end,
            stdout=subprocess.DEVNULL,
        )
        os.write(terminal, f"{theirs.name}\n".encode())
        wait_until(lambda: theirs.value(WAITING) > 0, timeout=60)
        process.kill()
        process.wait()
    os.close(its_end)
    os.close(terminal)
    wait_until(lambda: installed.sessions() == 0, timeout=60)
    with pytest.raises(CommandError, match=r"audit\.jsonl exists already\. Nothing was changed\."):
        installed.call(*words, "--yes")
    with pytest.raises(
        CommandError, match="An uninstall of the console began in this database and did not finish"
    ):
        installed.call("migrate")


def _dies(installed: Installed, module: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, step, die)
        with pytest.raises(KeyboardInterrupt):
            installed.call("uninstall", "--yes")


def _export_is_verifiable(installed: Installed, verifying: list[str], folder: Path) -> None:
    told = installed.call(*verifying)
    assert "Everything that was sealed is as it was." in told
    assert "rows were read" in told
    events = (folder / "timeline.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in events] == [
        f"event {number}" for number in range(1, 2_501)
    ]
    audit = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    assert audit[-1]["change_message"].startswith("Uninstalled the console.")
    with (folder / "letters.jsonl").open("a") as file:
        file.write(
            json.dumps({"id": "1"} | dict.fromkeys(exported.FILES[AuditSeal.Source.LETTERS].columns[1:]))
            + "\n"
        )
    events[1_700] = events[1_700].replace("event 1701", "event 1702")
    (folder / "timeline.jsonl").write_text("\n".join(events) + "\n")
    report = exported.verify(folder, anchor="1:00")
    assert [each.kind for each in report.breaks] == ["altered", "inserted", "anchor missing"]
    with pytest.raises(SystemExit):
        installed.call(*verifying)


def _attach_again(installed: Installed) -> None:
    """Attach with one role and without a schema of the console's own, where one of the contract tables is missing."""
    theirs = installed.database
    before = dumps.schema(theirs)
    theirs.migrate(**installed.environment)
    assert (
        theirs.value("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'sweeps'")
        == "public"
    )
    assert theirs.sql("SELECT mode, cutoff FROM public.recovery_control") == [("observe", None)]
    assert theirs.value("SELECT count(*) FROM public.job_events") == 0
    _leaves_what_another_project_uses(installed)

    assert "The table app.rate_limit_requests, which the console created, is dropped." in installed.call(
        "uninstall", "--yes"
    )

    assert dumps.schema(theirs) == before


def _leaves_what_another_project_uses(installed: Installed) -> None:
    """Uninstall from a copy of the database, in which another Django project has the same history of migrations."""
    theirs = installed.database
    copy = Database(theirs.server, f"{theirs.name}_copy")
    Database(theirs.server, "postgres").sql(f'CREATE DATABASE "{copy.name}" TEMPLATE "{theirs.name}"')
    try:
        copy.sql(
            f'ALTER DATABASE "{copy.name}" SET search_path = app, public;'
            "INSERT INTO public.django_migrations (app, name, applied) VALUES ('shop', '0001', now())"
        )
        said = replace(installed, database=copy).call("uninstall", "--yes")
        assert "Another Django project uses the same django_migrations." in said
        left = dumps.schema(copy)
        assert "CREATE TABLE public.auth_user (" in left
        assert not [line for line in left if "opsconsole" in line or "sweeps" in line]
        apps = copy.sql("SELECT DISTINCT app FROM public.django_migrations")
        assert ("shop",) in apps and not {("jobs",), ("alerts",), ("ratelimits",), ("opsconsole",)} & {*apps}
    finally:
        databases.drop(copy)
