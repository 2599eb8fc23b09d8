"""Tests of the schema of the console's own tables, in a database that gives every new object to strangers.

It is prepared as Supabase prepares each project, and it also belongs to another Django project.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from opsconsole.kit import own_schema
from tests.databases import CONTRACT, Database
from tests.supabase import Supabase

OTHER_PROJECT = """
CREATE TABLE django_migrations (id serial, app varchar(255), name varchar(255), applied timestamptz);
INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0001_initial', now()), ('shop', '0001_initial', now());
CREATE TABLE auth_user (id serial PRIMARY KEY, username text);
CREATE TABLE outbox (theirs int);
INSERT INTO auth_user (username) VALUES ('theirs');
"""
PLACES = "SELECT nspname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = %s ORDER BY 1"


@pytest.fixture
def supabase(theirs: Database) -> Iterator[Supabase]:
    prepared = Supabase(theirs)
    prepared.create()
    yield prepared
    prepared.drop()


def test_strangers_get_nothing_and_another_django_project_stays_apart(
    supabase: Supabase, settings: Any
) -> None:
    """One role for everything, which owns the tables of another Django project too."""
    theirs = supabase.database
    theirs.sql(OTHER_PROJECT)
    settings.OPSCONSOLE_CREATE_JOBS = True
    code, findings = theirs.inspect()
    assert code == 0, findings
    told = [finding for finding in findings if finding["id"] == "default-privileges"]
    assert any(
        f"anon_{theirs.name} gets privileges on all new tables in the schema public" in each["found"]
        for each in told
    )

    theirs.migrate(OPSCONSOLE_CREATE_JOBS="1")

    assert supabase.allowed() == []
    assert theirs.sql(PLACES, ["auth_user"]) == [("opsconsole",), ("public",)]
    assert theirs.sql(PLACES, ["jobs"]) == theirs.sql(PLACES, ["rate_limit_requests"]) == [("public",)]
    assert (
        theirs.value("SELECT pronamespace::regnamespace::text FROM pg_proc WHERE proname = 'find_stale_jobs'")
        == "public"
    )
    assert theirs.sql("SELECT username FROM public.auth_user") == [("theirs",)]
    assert theirs.value("SELECT count(*) FROM public.django_migrations") == 2
    # The other project uses the same role, so that the role has no default: transactions say where the tables are.
    assert (
        theirs.sql(
            "SELECT 1 FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase"
            " WHERE datname = current_database() AND setconfig::text LIKE '%search_path%'"
        )
        == []
    )
    with theirs.as_default():
        User.objects.create_user("ada")
    assert theirs.sql("SELECT username FROM opsconsole.auth_user") == [("ada",)]
    assert theirs.inspect()[0] == 0

    _partitions_and_functions(supabase)


def _partitions_and_functions(supabase: Supabase) -> None:
    """Check a partition that the cluster makes later, and that EXECUTE is all that a caller of the functions needs."""
    theirs, caller = supabase.database, supabase.strangers["service_role"]
    last = theirs.value("SELECT max(relname::text) FROM pg_class WHERE relname ~ '^job_events_[0-9_]+$'")
    theirs.sql(f"DROP TABLE opsconsole.{last}; SELECT opsconsole.create_job_event_partitions(3)")
    assert theirs.sql(PLACES, [last]) == [("opsconsole",)]
    assert supabase.allowed() == []
    theirs.sql(
        "INSERT INTO jobs (customer_id, package_size, status, updated_at, started_at, claimed_epoch, worker_id)"
        " VALUES ('acme', 1, 'in_progress', now() - interval '1 day', now() - interval '1 day', 1, 'w')"
    )
    theirs.sql(
        f"GRANT EXECUTE ON FUNCTION find_stale_jobs(timestamptz) TO {caller};"
        f"GRANT EXECUTE ON FUNCTION cleanup_rate_limit_requests() TO {caller}"
    )
    # As PostgREST does, with a search path that does not lead to the console's tables.
    with theirs.connect() as session:
        session.execute(f"SET search_path = ''; SET ROLE {caller}")
        stale = session.execute("SELECT customer_id FROM public.find_stale_jobs(now())").fetchall()
        session.execute("SELECT public.cleanup_rate_limit_requests()")
    assert stale == [("acme",)]
    theirs.sql(
        f"REVOKE ALL ON FUNCTION find_stale_jobs(timestamptz) FROM {caller};"
        f"REVOKE ALL ON FUNCTION cleanup_rate_limit_requests() FROM {caller}"
    )


def test_two_roles_share_the_tables_and_nobody_else(supabase: Supabase) -> None:
    theirs = supabase.database
    owner = {"OPSCONSOLE_OWNER_DATABASE_URL": theirs.url(user=supabase.owner)}
    theirs.migrate(user=supabase.runtime, **owner)
    assert supabase.allowed() == []
    assert theirs.value("SELECT has_table_privilege(%s, 'opsconsole.sweeps', 'DELETE')", [supabase.runtime])
    assert theirs.value("SELECT tableowner FROM pg_tables WHERE tablename = 'sweeps'") == supabase.owner
    assert theirs.manage("sync_schedules", user=supabase.runtime).returncode == 0
    findings = theirs.inspect(user=supabase.runtime)[1]
    assert not [
        finding
        for finding in findings
        if finding["id"] in ("own-tables-granted", "table-open", "schema-open")
    ]

    _open_again(supabase)


def _open_again(supabase: Supabase) -> None:
    """Check that the inspection sees what somebody grants later, and a contract table without row-level security."""
    theirs, anon = supabase.database, supabase.strangers["anon"]
    theirs.sql(f"GRANT SELECT ON opsconsole.auth_user TO {anon}; GRANT ALL ON jobs TO {anon}")
    findings = {finding["id"]: finding for finding in theirs.inspect(user=supabase.runtime)[1]}
    assert findings["own-tables-granted"]["severity"] == findings["table-open"]["severity"] == "warning"
    theirs.sql(findings["own-tables-granted"]["action"])
    theirs.sql(findings["table-open"]["action"].partition("; or: ")[2])
    findings = {finding["id"]: finding for finding in theirs.inspect(user=supabase.runtime)[1]}
    assert not {"own-tables-granted", "table-open"} & findings.keys()
    assert findings["row-security"]["subject"] == "jobs"


def test_migrate_refuses_what_comes_back_after_it_was_revoked(supabase: Supabase) -> None:
    theirs, anon = supabase.database, supabase.strangers["anon"]
    theirs.sql(
        f"""CREATE FUNCTION give() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF to_regclass('opsconsole.django_migrations') IS NOT NULL AND pg_trigger_depth() = 0
               AND NOT has_table_privilege('{anon}', 'opsconsole.django_migrations', 'SELECT') THEN
                GRANT SELECT ON opsconsole.django_migrations TO {anon};
            END IF;
        END $$;
        ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM {anon};
        ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {anon};
        CREATE EVENT TRIGGER give ON ddl_command_end WHEN TAG IN ('REVOKE') EXECUTE FUNCTION give()"""
    )
    done = theirs.manage("migrate")
    assert done.returncode == 1
    assert f"{anon} would be able to SELECT on opsconsole.django_migrations" in done.stderr
    assert "ALTER EVENT TRIGGER give DISABLE" in done.stderr
    assert theirs.value("SELECT to_regnamespace('opsconsole')") is None
    theirs.sql("DROP EVENT TRIGGER give")


def test_history_of_another_console_is_not_taken_for_ours(theirs: Database) -> None:
    """One environment in each schema, and the console of the other one lives in the schema that both look into."""
    theirs.sql(
        OTHER_PROJECT
        + "INSERT INTO django_migrations (app, name) VALUES ('jobs', '0001_contract_tables'), ('alerts', '0001_console_tables');"
        "CREATE SCHEMA staging; SET search_path = staging;" + CONTRACT
    )
    theirs.sql(f'ALTER DATABASE "{theirs.name}" SET search_path = staging, public')

    code, findings = theirs.inspect()

    [told] = [each for each in findings if each["severity"] == "blocker"]
    assert (code, told["id"], told["subject"]) == (1, "other-console", "public.django_migrations")
    assert "it was never attached to staging.jobs" in told["found"]
    theirs.sql("ALTER TABLE staging.jobs ADD run_epoch int NOT NULL DEFAULT 1")
    assert "other-console" not in {each["id"] for each in theirs.inspect()[1]}


@pytest.mark.parametrize(
    ("current", "user", "wanted"),
    [
        ('"$user", public', "console", '"opsconsole", "$user", "public"'),
        ('"$user", public', "opsconsole", '"$user", public'),
        ("opsconsole, public", "console", "opsconsole, public"),
        ("app, opsconsole", "console", '"opsconsole", "app"'),
        ('"My ""own""", public', "console", '"opsconsole", "My ""own""", "public"'),
        ("", "console", '"opsconsole"'),
    ],
)
def test_search_path_begins_with_the_schema(current: str, user: str, wanted: str) -> None:
    assert own_schema.search_path(current, user) == wanted


def test_public_needs_no_search_path(settings: Any) -> None:
    settings.OPSCONSOLE_SCHEMA = "public"
    assert own_schema.search_path('"$user", public', "console") == '"$user", public'
    assert own_schema.search_path("app", "console") == '"public", "app"'
