"""Functions of others that the console replaces: kept whole in the record of the attachment, and put back from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import transaction

from opsconsole.kit import attachment
from opsconsole.kit.attachment import Kind

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

_IS_AGGREGATE = "SELECT prokind = 'a' FROM pg_proc WHERE oid = to_regprocedure(%s)"
_FUNCTION = """
SELECT pg_get_functiondef(oid), quote_ident(pg_get_userbyid(proowner)), obj_description(oid, 'pg_proc'),
       ARRAY(SELECT format('GRANT EXECUTE ON ROUTINE %%s TO %%s%%s', %(routine)s::text,
                           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                           CASE WHEN is_grantable AND grantee <> proowner THEN ' WITH GRANT OPTION' ELSE '' END)
               FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WITH ORDINALITY
                    AS entry (grantor, grantee, privilege, is_grantable, place)
              ORDER BY place)
  FROM pg_proc WHERE oid = to_regprocedure(%(routine)s)
"""
_GRANTEES = """
SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
  FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE oid = to_regprocedure(%s)
"""


def keep(connection: BaseDatabaseWrapper, routine: str) -> None:
    """Record the function that is about to be replaced, with its owner, privileges and comment; or that there is none.

    ``routine`` has its schema and the types of its arguments.
    """
    with connection.cursor() as cursor:
        cursor.execute(_IS_AGGREGATE, [routine])
        row = cursor.fetchone()
        if row and row[0]:
            raise CommandError(
                f"{routine} is an aggregate function, which could not be put back later. Nothing was changed. "
                f"Rename it (ALTER AGGREGATE {routine} RENAME TO another_name), then run migrate again."
            )
        with _full_names(connection):
            cursor.execute(_FUNCTION, {"routine": routine})
            found = cursor.fetchone()
    kept = dict(zip(("definition", "owner", "comment", "grants"), found, strict=True)) if found else None
    attachment.note(connection, Kind.FUNCTION, routine, {"theirs": kept}, replace=True)


def put_back(connection: BaseDatabaseWrapper, routine: str) -> bool:
    """Drop the console's function; create the one that it replaced, if any, as it was. Tell whether there was one."""
    kept = _kept(connection, routine)
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(f"DROP ROUTINE IF EXISTS {routine}")
        if kept:
            # Its body may name what does not exist any more, or is not on this search path.
            cursor.execute("SET LOCAL check_function_bodies = off")
            with _full_names(connection):
                cursor.execute(kept["definition"], None)
            cursor.execute(f"ALTER ROUTINE {routine} OWNER TO {kept['owner']}")
            cursor.execute(_GRANTEES, [routine])
            for (role,) in cursor.fetchall():
                cursor.execute(f"REVOKE ALL ON ROUTINE {routine} FROM {role} CASCADE")
            for grant in kept["grants"]:
                cursor.execute(grant, None)
            if kept["comment"] is not None:
                cursor.execute("SELECT quote_literal(%s)", [kept["comment"]])
                cursor.execute(f"COMMENT ON ROUTINE {routine} IS {cursor.fetchone()[0]}", None)
        attachment.forget(connection, Kind.FUNCTION, routine)
    return kept is not None


def _kept(connection: BaseDatabaseWrapper, routine: str) -> dict[str, Any] | None:
    for record in attachment.read(connection):
        if record.kind == Kind.FUNCTION and record.name == routine:
            kept: dict[str, Any] | None = record.content["theirs"]
            return kept
    return None


@contextmanager
def _full_names(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let PostgreSQL write, or read, a definition in which each name has its schema; for a part of a transaction."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path')")
        usual = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('search_path', 'pg_catalog', true)")
        yield
        cursor.execute("SELECT set_config('search_path', %s, true)", [usual])
