"""The console's own tables, functions and schemas; and what of others depends on what goes."""

# ruff: noqa: S608 - only pieces of SQL from this code are put together; values are parameters

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from jobs.inspection import catalog, names
from opsconsole import own_tables
from opsconsole.kit import attachment

# A view depends on columns by its rule.
_DESCRIBED = """
CASE classid WHEN 'pg_rewrite'::regclass
     THEN (SELECT pg_describe_object('pg_class'::regclass, ev_class, 0) FROM pg_rewrite WHERE oid = objid)
     ELSE pg_describe_object(classid, objid, pg_depend.objsubid) END
"""
APPS = ("jobs", "ratelimits", "alerts", "opsconsole")
# A month of the timeline that was detached from it is the console's, too.
_DETACHED = """
SELECT format('%%I.%%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
 WHERE nspname = %s AND relkind = 'r' AND NOT relispartition AND relname ~ '^job_events_[0-9]{4}_[0-9]{2}$'
   AND EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname = 'job_events_no_truncate')
 ORDER BY 1
"""
# On tables of Django that another project uses, too.
_SHARED_TRIGGERS = """
SELECT quote_ident(tgname), tgrelid::regclass::text FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
 WHERE tgrelid = ANY (%s::regclass[]) AND NOT tgisinternal AND starts_with(proname, 'opsconsole_') ORDER BY 1
"""
_SHARED_FUNCTIONS = """
SELECT DISTINCT tgfoid::regprocedure::text FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
 WHERE tgrelid = ANY (%s::regclass[]) AND NOT tgisinternal AND starts_with(proname, 'opsconsole_') ORDER BY 1
"""
_SHARED_INDEXES = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
 WHERE indrelid = ANY (%s::regclass[]) AND starts_with(relname, 'opsconsole_') ORDER BY 1
"""
_DEPENDENTS = f"""
WITH ours AS (SELECT unnest(%s::regclass[])::oid AS oid)
SELECT DISTINCT {_DESCRIBED}
  FROM pg_depend
 WHERE deptype = 'n'
   AND (refclassid = 'pg_class'::regclass AND refobjid IN (SELECT oid FROM ours)
        OR refclassid = 'pg_type'::regclass AND refobjid IN (SELECT reltype FROM pg_class JOIN ours USING (oid)))
   AND coalesce(CASE classid
       WHEN 'pg_class'::regclass THEN objid
       WHEN 'pg_constraint'::regclass THEN (SELECT conrelid FROM pg_constraint WHERE oid = objid)
       WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = objid)
       WHEN 'pg_attrdef'::regclass THEN (SELECT adrelid FROM pg_attrdef WHERE oid = objid)
       WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = objid) END, 0) NOT IN (SELECT oid FROM ours)
 ORDER BY 1
"""
_COLUMN_DEPENDENTS = f"""
SELECT DISTINCT {_DESCRIBED}, deptype = 'n'
  FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
 WHERE refclassid = 'pg_class'::regclass AND refobjid = to_regclass(%s) AND attname = ANY (%s) AND deptype IN ('n', 'a')
   AND classid <> 'pg_attrdef'::regclass
   AND NOT (classid = 'pg_class'::regclass AND objid IN (SELECT oid FROM pg_class WHERE starts_with(relname, 'opsconsole_')))
   AND NOT (classid = 'pg_constraint'::regclass AND objid IN (SELECT oid FROM pg_constraint WHERE contype = 'n'))
 ORDER BY 1
"""
_ROUTINE_DEPENDENTS = f"""
SELECT DISTINCT {_DESCRIBED} FROM pg_depend
 WHERE refclassid = 'pg_proc'::regclass AND refobjid = to_regprocedure(%s) AND deptype = 'n' ORDER BY 1
"""
_SCHEMA = "SELECT quote_ident(nspname) FROM pg_namespace WHERE oid = to_regnamespace(%s)"
_NAMED = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
 WHERE nspname = %s AND relname = ANY (%s) ORDER BY relname
"""
_LEFT = """
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
 WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace(%s) AND deptype = 'n' ORDER BY 1
"""
_STRANGE_OWNERS = """
SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class
 WHERE oid = ANY (%s::regclass[]) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1
"""


@dataclass(frozen=True)
class OwnObjects:
    """``tables`` and ``schemas`` go; ``shared_tables`` belong to Django's apps and stay, because another project uses them."""

    place: str = ""
    tables: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    shared_tables: list[str] = field(default_factory=list)


def find(created_schemas: Sequence[str]) -> OwnObjects:
    place = names.history_place() or ""
    tables = list(own_tables.tables(place).values())
    shared = _of_django(place) if _shares_history() else []
    going = [name for name in tables if name not in shared]
    going += [name for (name,) in catalog.rows(_DETACHED, [place])]
    schemas = [name for each in created_schemas for (name,) in catalog.rows(_SCHEMA, [each])]
    return OwnObjects(place, going, schemas, shared)


def _of_django(place: str) -> list[str]:
    """Return the tables that don't belong to an app of the console."""
    apps = names.own_tables()
    staying = [name for name, app in apps.items() if app not in APPS and name != attachment.TABLE]
    return [name for (name,) in catalog.rows(_NAMED, [place, staying])]


def _shares_history() -> bool:
    """Tell whether another Django project keeps its history in the same table, so that both have Django's tables in common."""
    ours = names.loader().migrated_apps
    return any(app not in ours for app, _ in MigrationRecorder(connection).applied_migrations())


def shared_triggers(tables: Sequence[str]) -> list[str]:
    return [
        f"DROP TRIGGER {name} ON {table}" for name, table in catalog.rows(_SHARED_TRIGGERS, [list(tables)])
    ]


def shared_functions(tables: Sequence[str]) -> list[str]:
    return [name for (name,) in catalog.rows(_SHARED_FUNCTIONS, [list(tables)])]


def shared_indexes(tables: Sequence[str]) -> list[str]:
    return [name for (name,) in catalog.rows(_SHARED_INDEXES, [list(tables)])]


def dependents(tables: Sequence[str]) -> list[str]:
    """Return what of others needs these tables, as PostgreSQL describes it."""
    return [name for (name,) in catalog.rows(_DEPENDENTS, [list(tables)])]


def column_dependents(table: str, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what of others needs these columns, and what would go with them."""
    found = catalog.rows(_COLUMN_DEPENDENTS, [table, list(columns)])
    return [name for name, needs in found if needs], [name for name, needs in found if not needs]


def routine_dependents(routine: str) -> list[str]:
    return [name for (name,) in catalog.rows(_ROUTINE_DEPENDENTS, [routine])]


def left_in(schema: str) -> list[str]:
    """Return what is in a schema, as PostgreSQL describes it."""
    return [name for (name,) in catalog.rows(_LEFT, [schema])]


def strange_owners(tables: Sequence[str]) -> dict[str, str]:
    """Return the owners of those of these tables that the present role may not drop."""
    return dict(catalog.rows(_STRANGE_OWNERS, [list(tables)]))
