"""Where the console's own tables are: in a schema of their own from the first migration on, or moved there later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.management.base import CommandError
from django.db import OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from psycopg.errors import LockNotAvailable

from jobs.inspection import names
from opsconsole.kit import attachment, inherited_grants, own_schema
from opsconsole.kit.attachment import Kind
from opsconsole.kit.inherited_grants import Grant

# Tries that hardly wait, and then some that wait for a shorter time than others wait before they look for a deadlock.
TRIES, PATIENT_TRIES, PAUSE_SECONDS = 40, 10, 0.1
HARDLY_MS, WAIT_MS = 1, 800

# Tables with their partitions, in an order that everybody could follow who locks several of them.
_TABLES = """
WITH RECURSIVE found AS (
    SELECT to_regclass(quote_ident(%(source)s) || '.' || quote_ident(name))::oid AS oid FROM unnest(%(tables)s::text[]) AS name
    UNION SELECT inhrelid FROM pg_inherits JOIN found ON inhparent = oid
)
SELECT pg_class.oid::bigint, quote_ident(nspname) || '.' || quote_ident(relname)
  FROM found JOIN pg_class USING (oid) JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE nspname = %(source)s ORDER BY relname
"""
# The functions of triggers that only these tables have, and those that make and drop partitions.
_FUNCTIONS = """
SELECT oid::bigint, oid::regprocedure::text FROM pg_proc
 WHERE pronamespace = quote_ident(%(source)s)::regnamespace
   AND (oid IN (to_regprocedure(quote_ident(%(source)s) || '.create_job_event_partitions(integer)'),
                to_regprocedure(quote_ident(%(source)s) || '.drop_job_event_month(date, bigint, text, text, text, jsonb, text)'),
                to_regprocedure(quote_ident(%(source)s) || '.delete_audit_lines(bigint[], text, text)'))
        OR oid IN (SELECT tgfoid FROM pg_trigger WHERE tgrelid = ANY (%(oids)s::oid[]) AND NOT tgisinternal
                   EXCEPT SELECT tgfoid FROM pg_trigger WHERE tgrelid <> ALL (%(oids)s::oid[])))
 ORDER BY 2
"""
_SEQUENCES = """
SELECT objid::bigint FROM pg_depend JOIN pg_class ON pg_class.oid = objid
 WHERE classid = 'pg_class'::regclass AND relkind = 'S' AND deptype IN ('a', 'i') AND refobjid = ANY (%s::oid[])
"""
_DEFINITIONS = """
SELECT oid::regprocedure::text, pg_get_functiondef(oid),
       (SELECT substr(setting, 13) FROM unnest(proconfig) AS setting WHERE starts_with(setting, 'search_path='))
  FROM pg_proc
 WHERE oid = ANY (%(oids)s::oid[]) OR oid = ANY (SELECT to_regprocedure(name) FROM unnest(%(called)s::text[]) AS name)
"""
CALLED = [f"{name}({types})" for _, _, name, types in names.FUNCTIONS]
TRUSTED_PATHS = (None, "pg_catalog", "pg_catalog, pg_temp")


@dataclass(frozen=True)
class Moved:
    """``users``: roles other than the console's that were granted something on the tables. They may use the new schema."""

    tables: int
    source: str
    users: list[str]


def prepare() -> None:
    """Create the schema, and the table of migrations in it, for a console that has no tables yet."""
    if names.history_place() is not None:
        return
    with inherited_grants.taken_back(connection):
        is_new = _ensure(own_schema.name())
        with connection.schema_editor() as editor:
            editor.create_model(MigrationRecorder.Migration)
        attachment.create(connection)
        if is_new:
            attachment.note(connection, Kind.SCHEMA, own_schema.quoted(own_schema.name()))


def elsewhere() -> str | None:
    """Return the schema of the console's own tables if it is another than the setting names."""
    place = names.history_place()
    return None if place == own_schema.name() else place


def move(target: str, *, runtime_role: str) -> Moved | None:
    """Move the console's own tables and functions to another schema; return None if they are there.

    It changes the catalogue only, in one transaction. Nobody waits behind it for longer than a second per try.
    """
    source = names.history_place()
    if source is None:
        raise CommandError("The console has no tables in this database yet: run migrate.")
    if source == target:
        return None
    if target not in (own_schema.name(), *_searched()):
        raise CommandError(
            f"The console's processes look into the schemas {', '.join([own_schema.name(), *_searched()])}, and would not find "
            f"their tables in {target}. Nothing was moved."
        )
    tries = [HARDLY_MS] * TRIES + [WAIT_MS] * PATIENT_TRIES
    for wait_ms in tries:
        try:
            with transaction.atomic():
                return _move(source, target, wait_ms, runtime_role)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            time.sleep(PAUSE_SECONDS)
    raise CommandError(
        f"The tables could not be locked in {len(tries)} tries: other transactions hold them. Nothing was moved. Find the "
        "oldest transaction in pg_stat_activity (xact_start), let it end, and run this command again."
    )


def _searched() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(current_schemas(false))::text")
        return [schema for (schema,) in cursor.fetchall() if schema != own_schema.name()]


def _ensure(schema: str) -> bool:
    """Create the schema if it is missing; tell whether it was."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regnamespace(%s) IS NULL", [own_schema.quoted(schema)])
        is_new: bool = cursor.fetchone()[0]
        if is_new:
            cursor.execute(f"CREATE SCHEMA {own_schema.quoted(schema)}")
    return is_new


def _move(source: str, target: str, wait_ms: int, runtime_role: str) -> Moved:
    new = own_schema.quoted(target)
    with inherited_grants.taken_back(connection):
        if _ensure(target):
            attachment.note(connection, Kind.SCHEMA, new)
    moving = tables(source)
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {wait_ms}")
        cursor.execute(f"LOCK TABLE {', '.join(moving.values())} IN ACCESS EXCLUSIVE MODE")
        # They refer to others, which may be locked too.
        cursor.execute(f"SET LOCAL lock_timeout = {WAIT_MS}")
        for name in moving.values():
            cursor.execute(f"ALTER TABLE {name} SET SCHEMA {new}")
        cursor.execute(_FUNCTIONS, {"source": source, "oids": list(moving)})
        routines = dict(cursor.fetchall())
        for routine in routines.values():
            cursor.execute(f"ALTER FUNCTION {routine} SET SCHEMA {new}")
    _pin(source, target, list(routines))
    return Moved(len(moving), source, _let_in(target, list(moving), runtime_role))


def _pin(source: str, target: str, oids: list[int]) -> None:
    """Let the functions that name the old schema, in their text or in their search path, find the new one."""
    new = own_schema.quoted(target)
    with connection.cursor() as cursor:
        cursor.execute(_DEFINITIONS, {"oids": oids, "called": CALLED})
        for routine, definition, path in cursor.fetchall():
            text = definition
            for old in (own_schema.quoted(source), source):
                for name in ("job_events", "drop_job_event_month", "delete_audit_lines"):
                    text = text.replace(f"{old}.{name}", f"{new}.{name}")
            if text != definition:
                cursor.execute(text, None)
            if path not in TRUSTED_PATHS:
                cursor.execute(f"ALTER FUNCTION {routine} SET search_path = pg_catalog, {new}, pg_temp")


def _let_in(target: str, oids: list[int], runtime_role: str) -> list[str]:
    """Let whoever has privileges on the tables use their schema; return the roles but for the console's own, quoted."""
    users = {grant.grantee for grant in inherited_grants.grants(connection, oids)} - {"PUBLIC"}
    with connection.cursor() as cursor:
        for role in sorted(users):
            cursor.execute(f"GRANT USAGE ON SCHEMA {own_schema.quoted(target)} TO {role}")
    return sorted(users - {_quoted_role(runtime_role)})


def tables(place: str) -> dict[int, str]:
    """Return the console's own tables and their partitions in this schema: oid -> quoted name."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES, {"source": place, "tables": list(names.own_tables())})
        return dict(cursor.fetchall())


def functions(place: str, own: Sequence[str]) -> list[str]:
    """Return the functions that only these tables have, in the schema ``place``."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(%s::regclass[])::oid::bigint", [list(own)])
        oids = [oid for (oid,) in cursor.fetchall()]
        cursor.execute(_FUNCTIONS, {"source": place, "oids": oids})
        return [routine for _, routine in cursor.fetchall()]


def close(runtime_role: str) -> None:
    """Take back what default privileges gave to others on the console's own tables, sequences and functions.

    What an earlier version created is meant: since then nothing is inherited. What was granted by name stays, and
    ``runtime_role`` keeps what it has.
    """
    own, kept = _objects(), _quoted_role(runtime_role)
    found = inherited_grants.inherited(connection, own, peers=own)
    inherited_grants.take_back(connection, [grant for grant in found if grant.grantee != kept])


def grants_of_others(runtime_role: str) -> list[Grant]:
    """Return what others than the owner and the console's role may do with what belongs to the console."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regprocedure(name)::oid::bigint FROM unnest(%s::text[]) AS name", [CALLED])
        routines = [oid for (oid,) in cursor.fetchall() if oid is not None]
    kept = _quoted_role(runtime_role)
    found = inherited_grants.grants(connection, [*_objects(), *routines])
    return [grant for grant in found if grant.grantee != kept]


def _objects() -> list[int]:
    """Return the oids of the console's own tables, and of their sequences and functions."""
    source = names.history_place() or ""
    own = list(tables(source))
    with connection.cursor() as cursor:
        cursor.execute(_SEQUENCES, [own])
        sequences = [oid for (oid,) in cursor.fetchall()]
        cursor.execute(_FUNCTIONS, {"source": source, "oids": own})
        routines = [oid for oid, _ in cursor.fetchall()]
    return [*own, *sequences, *routines]


def _quoted_role(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(%s)", [name])
        return str(cursor.fetchone()[0])
