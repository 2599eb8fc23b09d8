"""Names already in use: the console's tables, its SQL functions, and the history of another Django project."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from jobs.inspection import catalog
from jobs.inspection.contract import CONTRACTS
from jobs.inspection.finding import Finding, Severity
from jobs.models.columns import JOBS, column
from opsconsole.kit import attachment, own_schema

OWN_SCHEMA = "Let the console have a schema of its own, which migrate creates: unset OPSCONSOLE_SCHEMA, or name one that is new."
ATTACHED_BY = ("jobs", "0001_contract_tables")
_OUR_MIGRATIONS = """
SELECT 1 FROM django_migrations
 WHERE app = 'jobs' AND name = '0001_contract_tables' OR app = 'ratelimits' AND name = '0001_contract_table'
    OR app IN ('opsconsole', 'alerts') AND name = '0001_console_tables'
"""
FUNCTIONS = (
    ("jobs", "0006_functions_and_triggers", "find_stale_jobs", "timestamptz"),
    ("jobs", "0006_functions_and_triggers", "create_job_event_partitions", "integer"),
    (
        "opsconsole",
        "0016_dropped_months",
        "drop_job_event_month",
        "date, bigint, text, text, text, jsonb, text",
    ),
    ("opsconsole", "0017_audit_retention", "delete_audit_lines", "bigint[], text, text"),
    ("ratelimits", "0003_functions_and_triggers", "cleanup_rate_limit_requests", ""),
)


def history_place() -> str | None:
    """Return the schema of the console's migration history, or None if it has none here.

    The search path may lead to the history of another Django project: the console then creates one of its own.
    """
    places = catalog.rows(
        "SELECT nspname, has_table_privilege(c.oid, 'SELECT') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE c.oid = to_regclass('django_migrations')"
    )
    if not places:
        return None
    schema, readable = places[0]
    if schema != own_schema.name() and not (readable and catalog.rows(_OUR_MIGRATIONS)):
        return None
    return str(schema)


def is_attached() -> bool:
    """Tell whether a migration of the console was ever applied here."""
    return history_place() is not None and bool(catalog.rows(_OUR_MIGRATIONS))


def other_console() -> Finding | None:
    """Return a finding where the history on the search path is that of a console which was never attached to this table of jobs."""
    schema, jobs = history_place(), catalog.table(JOBS.sql)
    epoch = column("jobs.run_epoch")
    if (
        schema is None
        or jobs is None
        or schema in {own_schema.name(), jobs.schema}
        or epoch in jobs.columns
        or "run_epoch" in JOBS.absent_columns
        or not is_attached()
    ):
        return None
    return Finding(
        id="other-console",
        severity=Severity.BLOCKER,
        subject=f"{schema}.django_migrations",
        found=f"a console is installed in the schema {schema}, and it was never attached to {jobs.schema}.{jobs.name}: it is "
        "another one, and the two would share users, controls and the audit",
        action="With the settings of that console, move its tables to a schema of their own: python manage.py move_tables "
        f"(docs/attaching.md). Or let the sessions of this one not look into {schema} (search_path).",
    )


def place() -> str:
    """Return the schema in which migrate creates the console's own tables."""
    return own_schema.name() if history_place() is None else str(catalog.value("SELECT current_schema()"))


def own_tables() -> dict[str, str]:
    """Return the tables of the console's models, without contract tables, with the label of the app of each."""
    contract = {contract.sql for contract in CONTRACTS}
    return {
        model._meta.db_table: model._meta.app_label
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy and model._meta.db_table not in contract
    } | {"django_migrations": "", attachment.TABLE: ""}


def loader() -> MigrationLoader:
    return MigrationLoader(connection if history_place() else None, ignore_no_migrations=True)


def inspect(history: MigrationLoader) -> Iterator[Finding]:
    applied = set(history.applied_migrations)
    yield from _other_project(history, applied)
    yield from _tables(history, applied)
    for app, migration, name, types in FUNCTIONS:
        if (app, migration) not in applied:
            yield from _function(name, types)


def _other_project(history: MigrationLoader, applied: set[tuple[str, str]]) -> Iterator[Finding]:
    foreign = sorted({app for app, name in applied if (app, name) not in history.disk_migrations})
    if foreign and ATTACHED_BY not in applied:
        schema = catalog.value(
            "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE c.oid = to_regclass('django_migrations')"
        )
        yield Finding(
            id="other-project",
            severity=Severity.BLOCKER,
            subject=f"{schema}.django_migrations",
            found=f"another Django project keeps its migration history here (apps {', '.join(foreign)}): "
            "the two would share users, sessions and migrations",
            action=OWN_SCHEMA,
        )


def _tables(history: MigrationLoader, applied: set[tuple[str, str]]) -> Iterator[Finding]:
    """Find tables that migrate would create. Except for contract tables, an existing one belongs to another program."""
    settled = {app for app, name in applied if (app, name) in history.disk_migrations}
    ours = [
        table for table, app in own_tables().items() if app not in settled and app in history.migrated_apps
    ]
    taken = catalog.rows(
        "SELECT relname, nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = %s AND relname = ANY (%s) ORDER BY relname",
        [place(), sorted(ours)],
    )
    for name, schema in taken:
        yield Finding(
            id="name-taken",
            severity=Severity.BLOCKER,
            subject=f"{schema}.{name}",
            found="a table of this name already exists, and the console would create its own",
            action=OWN_SCHEMA,
        )


def _function(name: str, types: str) -> Iterator[Finding]:
    functions = catalog.rows(
        "SELECT p.oid, p.oid::regprocedure::text, pg_get_function_result(p.oid), pg_get_userbyid(p.proowner),"
        "       pg_has_role(p.proowner, 'USAGE'), p.oid = to_regprocedure(%s)"
        "  FROM pg_proc p WHERE proname = %s AND pg_function_is_visible(p.oid)"
        # The others are beside contract tables.
        "   AND (proname NOT IN ('create_job_event_partitions', 'drop_job_event_month', 'delete_audit_lines')"
        "        OR pronamespace = to_regnamespace(%s)) ORDER BY 2",
        [f"{name}({types})", name, own_schema.quoted(place())],
    )
    for oid, signature, result, owner, owned, same in functions:
        if not same:
            yield _overload(signature, name, types)
            continue
        users = _dependents(oid)
        yield Finding(
            id="function-replaced",
            severity=Severity.WARNING if owned and not users else Severity.BLOCKER,
            subject=signature,
            found=f"it already exists (returns {result}) and will be replaced"
            + ("" if owned else f", but belongs to {owner}")
            + (f", but {', '.join(users)} depends on it" if users else ""),
            action="Callers get the contract's columns afterwards. Roles that were granted EXECUTE by name keep it; PUBLIC "
            "does not, so grant it to each caller that had it from PUBLIC."
            + ("" if owned else f" Run migrate as {owner}.")
            + (" Drop what depends on it first, or rename the function." if users else ""),
        )


def _overload(signature: str, name: str, types: str) -> Finding:
    return Finding(
        id="function-overloaded",
        severity=Severity.WARNING,
        subject=signature,
        found=f"a function of this name with other arguments exists; it is kept beside {name}({types})",
        action=f"Callers through PostgREST may find the call ambiguous. If you no longer need yours: DROP FUNCTION {signature};",
    )


def _dependents(oid: int) -> list[str]:
    dependents = catalog.rows(
        "SELECT DISTINCT pg_describe_object(classid, objid, objsubid) FROM pg_depend"
        " WHERE refclassid = 'pg_proc'::regclass AND refobjid = %s AND deptype IN ('n', 'a') ORDER BY 1",
        [oid],
    )
    return [description for (description,) in dependents]
