"""The two roles of the database: the owner, which migrates, and the role that everything else runs with.

``migrate`` gives the second role what it needs: privileges on the console's tables, and the defaults of its sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import Error, connection, connections, transaction

from jobs.inspection.contract import CONTRACTS
from opsconsole.kit import attachment, session_defaults
from opsconsole.kit.attachment import Kind
from opsconsole.kit.database_url import to_database

ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
# Tables whose rows are never changed: triggers refuse it, and the second role may not even try.
INSERT_ONLY = frozenset({"django_admin_log", "audit_details", "audit_seals", "job_events", "bulk_events"})
# Only functions of the owner write these.
READ_ONLY = frozenset({"retention_drops"})
# Functions that run with the rights of their owner, for the role that may not do the same itself.
FUNCTIONS = (
    "create_job_event_partitions(integer)",
    "drop_job_event_month(date, bigint, text, text, text, jsonb, text)",
    "delete_audit_lines(bigint[], text, text)",
)

_TABLES = """
SELECT format('GRANT %%s ON %%s TO %%I', array_to_string(wanted.privileges, ', '), wanted.oid::regclass, %(role)s)
  FROM (SELECT to_regclass(name) AS oid, string_to_array(listed, ',') AS privileges
          FROM unnest(%(tables)s::text[], %(privileges)s::text[]) AS given (name, listed)) AS wanted
 WHERE wanted.oid IS NOT NULL
   AND NOT (SELECT bool_and(has_table_privilege(%(role)s, wanted.oid, name)) FROM unnest(wanted.privileges) AS name)
 -- Last of all the table that says that everything is ready.
 ORDER BY wanted.oid = 'django_migrations'::regclass, wanted.oid::regclass::text
"""
_OTHERS = """
SELECT format('GRANT USAGE ON SCHEMA %%I TO %%I', nspname, %(role)s)
  FROM pg_namespace
 WHERE oid IN (SELECT relnamespace FROM pg_class WHERE oid = ANY (
                   SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name))
   AND NOT has_schema_privilege(%(role)s, oid, 'USAGE')
UNION ALL
SELECT format('GRANT USAGE ON SEQUENCE %%s TO %%I', sequence.oid::regclass, %(role)s)
  FROM pg_class AS sequence JOIN pg_depend ON objid = sequence.oid AND deptype = 'a'
 WHERE refobjid = ANY (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name)
   AND CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(%(role)s, sequence.oid, 'USAGE') END
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION %%s TO %%I', to_regprocedure(name), %(role)s)
  FROM unnest(%(functions)s::text[]) AS name
 WHERE to_regprocedure(name) IS NOT NULL AND NOT has_function_privilege(%(role)s, to_regprocedure(name), 'EXECUTE')
"""
# What earlier versions granted.
_SURPLUS = """
SELECT format('REVOKE %%s ON %%s FROM %%I', string_agg(privilege_type, ', ' ORDER BY privilege_type), oid::regclass, %(role)s)
  FROM pg_class, aclexplode(relacl)
 WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(%(insert_only)s::text[]) AS name)
   AND grantee = (SELECT oid FROM pg_roles WHERE rolname = %(role)s) AND grantee <> relowner
   AND privilege_type NOT IN ('SELECT', 'INSERT')
 GROUP BY oid ORDER BY oid::regclass::text
"""
# What roles may do with contract tables, their sequences, and the schemas of all tables.
_HELD = """
WITH tables AS (SELECT to_regclass(name) AS oid, contract
                  FROM unnest(%(tables)s::text[], %(contract)s::bool[]) AS given (name, contract)),
objects AS (
    SELECT 'TABLE' AS kind, oid::oid, relacl AS acl FROM pg_class WHERE oid IN (SELECT oid FROM tables WHERE contract)
    UNION ALL
    SELECT 'SEQUENCE', sequence.oid, relacl FROM pg_class AS sequence JOIN pg_depend ON objid = sequence.oid AND deptype = 'a'
     WHERE relkind = 'S' AND refobjid IN (SELECT oid FROM tables WHERE contract)
    UNION ALL
    SELECT 'SCHEMA', oid, nspacl FROM pg_namespace
     WHERE oid IN (SELECT relnamespace FROM pg_class WHERE oid IN (SELECT oid FROM tables))
)
SELECT kind, CASE kind WHEN 'SCHEMA' THEN (SELECT quote_ident(nspname) FROM pg_namespace WHERE pg_namespace.oid = objects.oid)
       ELSE (SELECT format('%%I.%%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
              WHERE pg_class.oid = objects.oid) END,
       ARRAY(SELECT privilege_type FROM aclexplode(acl)
              WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = %(role)s) ORDER BY privilege_type)
  FROM objects ORDER BY 1, 2
"""
_SETTINGS = """
SELECT unnest(setconfig) FROM pg_db_role_setting
 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND setrole = (SELECT oid FROM pg_roles WHERE rolname = %s)
"""
_FOREIGN_TABLES = """
SELECT count(*)
  FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
 WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
   AND relkind IN ('r', 'p') AND NOT relispartition
   AND nspname NOT IN ('pg_catalog', 'information_schema') AND NOT starts_with(nspname, 'pg_')
   AND pg_class.oid <> ALL (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL)
"""


@contextmanager
def as_owner() -> Iterator[None]:
    """Use the owner's connection for a while, if ``OPSCONSOLE_OWNER_DATABASE_URL`` names one."""
    if not settings.OPSCONSOLE_OWNER_DATABASE_URL:
        yield
        return
    usual, described = connections["default"], connections.settings["default"]
    owner = usual.copy()
    owner.settings_dict = described | to_database(settings.OPSCONSOLE_OWNER_DATABASE_URL)
    connections["default"], connections.settings["default"] = owner, owner.settings_dict
    try:
        yield
    finally:
        owner.close()
        connections["default"], connections.settings["default"] = usual, described


def missing_grants(role: str) -> list[str]:
    """Return the statements that give this role what it lacks on the console's tables, and take what it must not have.

    Ask as the owner.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s AND rolname <> current_user", [role])
        if cursor.fetchone() is None:
            return []
    return lacking(role)


def lacking(role: str) -> list[str]:
    """Return the same of any role, also of the one that asks. An owner lacks nothing."""
    privileges = _privileges()
    given: dict[str, Any] = {
        "role": role,
        "tables": list(privileges),
        "privileges": [",".join(names) for names in privileges.values()],
        "functions": list(FUNCTIONS),
        "insert_only": sorted(INSERT_ONLY | READ_ONLY),
    }
    found: list[str] = []
    with connection.cursor() as cursor:
        for question in (_OTHERS, _SURPLUS, _TABLES):
            cursor.execute(question, given)
            found += [statement for (statement,) in cursor.fetchall()]
    return found


def held_privileges(role: str, moved: Iterable[str] = ()) -> dict[tuple[str, str], list[str]]:
    """Return what was granted to this role on contract tables, on their sequences and on the schemas: by kind and quoted name.

    ``moved``: contract tables that have another name by now.
    """
    contract = {*(contract.sql for contract in CONTRACTS), *moved}
    tables = list(dict.fromkeys([*_privileges(), *moved]))
    with connection.cursor() as cursor:
        cursor.execute(
            _HELD, {"role": role, "tables": tables, "contract": [table in contract for table in tables]}
        )
        return {(kind, name): held for kind, name, held in cursor.fetchall()}


def session_settings(role: str) -> dict[str, str]:
    """Return the defaults that this role has in this database."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTINGS, [role])
        pairs = [setting.partition("=") for (setting,) in cursor.fetchall()]
    return {name: value for name, _, value in pairs}


def note_before(role: str) -> None:
    """Record what this role may do and which settings it has, before it is given more; what was recorded earlier stays."""
    for (kind, name), held in held_privileges(role).items():
        content = {"role": role, "kind": kind, "object": name, "before": held}
        attachment.note(connection, Kind.PRIVILEGES, f"{role} on {kind} {name}", content)
    attachment.note(connection, Kind.SETTINGS, role, {"before": session_settings(role)})


def is_ours_alone() -> bool:
    """Tell whether the connection's role serves only the console, so that its defaults are ours to set."""
    if settings.OPSCONSOLE_OWNER_DATABASE_URL:
        return True
    with connection.cursor() as cursor:
        cursor.execute(_FOREIGN_TABLES, [[*_privileges(), attachment.TABLE]])
        return bool(cursor.fetchone() == (0,))


def missing_defaults(*, alone: bool) -> list[str]:
    """Return the ALTER ROLE statements for the session settings that the connection's role lacks.

    ``alone``: the role serves only the console, so that the search path may hold for everything that uses it.
    """
    found = session_defaults.differences()
    if alone:
        found += session_defaults.missing_search_path()
    return session_defaults.statements(found)


def carry_out(statements: Iterable[str]) -> list[str]:
    """Execute these statements, each for itself; return those that the database refused.

    Whoever grants or revokes what they may not pass on is not refused: ask again what is missing.
    """
    return [statement for statement in statements if not _accepted(statement)]


def _accepted(statement: str) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except Error:
        return False
    return True


def _privileges() -> dict[str, tuple[str, ...]]:
    """Return what the console does with each of its tables."""
    ours = {table: ("SELECT", "INSERT") if table in INSERT_ONLY else ALL for table in _tables()}
    return (
        ours
        | {contract.sql: contract.privileges for contract in CONTRACTS}
        | dict.fromkeys(("django_migrations", *READ_ONLY), ("SELECT",))
    )


def contract_privileges() -> frozenset[str]:
    """Return everything that is ever granted to the runtime role on a contract table, its sequence or its schema."""
    return frozenset({"USAGE", *(name for contract in CONTRACTS for name in contract.privileges)})


def _tables() -> Iterator[str]:
    contracts = {contract.sql for contract in CONTRACTS}
    for model in apps.get_models(include_auto_created=True):
        table = model._meta.db_table  # noqa: SLF001 - Django's documented interface to the name of a table
        if model._meta.managed or table in contracts:  # noqa: SLF001
            yield table
