"""Who may execute an SQL function that a migration replaces: whoever was granted the old one by name, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsconsole.kit import inherited_grants

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_GRANTEES = """
SELECT quote_ident(rolname), bool_or(is_grantable) FROM pg_proc, aclexplode(proacl) JOIN pg_roles r ON r.oid = grantee
 WHERE pg_proc.oid = to_regprocedure(%s) AND grantee <> proowner GROUP BY 1 ORDER BY 1
"""
# Nobody grants the function of a trigger by name: whoever may execute these got it by default.
_PEERS = """
SELECT peer.oid::bigint FROM pg_proc AS peer JOIN pg_proc AS own USING (pronamespace, proowner)
 WHERE own.oid = to_regprocedure(%s) AND peer.prorettype = 'trigger'::regtype
"""


def by_name(connection: BaseDatabaseWrapper, routine: str, *, inherited: bool) -> dict[str, bool]:
    """Return the roles, quoted, that may execute this function, each with whether it may pass that on.

    ``inherited``: without those that have it by default privileges only.
    """
    roles = grantees(connection, routine)
    oid = _oid(connection, routine)
    if not inherited or oid is None:
        return roles
    with connection.cursor() as cursor:
        cursor.execute(_PEERS, [routine])
        peers = [peer for (peer,) in cursor.fetchall()]
    by_default = {grant.grantee for grant in inherited_grants.inherited(connection, [oid], peers=peers)}
    return {role: may_pass_on for role, may_pass_on in roles.items() if role not in by_default}


def grantees(connection: BaseDatabaseWrapper, routine: str) -> dict[str, bool]:
    with connection.cursor() as cursor:
        cursor.execute(_GRANTEES, [routine])
        return dict(cursor.fetchall())


def settle(schema_editor: BaseDatabaseSchemaEditor, routine: str, allowed: dict[str, bool]) -> None:
    """Let these roles execute the new function, and nobody else. Raise ``CommandError`` if another still may."""
    connection = schema_editor.connection
    for role in ["PUBLIC", *grantees(connection, routine)]:
        schema_editor.execute(f"REVOKE ALL ON FUNCTION {routine} FROM {role}")
    for role, may_pass_on in allowed.items():
        option = " WITH GRANT OPTION" if may_pass_on else ""
        schema_editor.execute(f"GRANT EXECUTE ON FUNCTION {routine} TO {role}{option}")
    oid = _oid(connection, routine)
    if oid is None:  # Only the SQL of the migration was asked for.
        return
    found = inherited_grants.grants(connection, [oid])
    inherited_grants.refuse_if_any(
        connection, [grant for grant in found if grant.kind == "ROUTINE" and grant.grantee not in allowed]
    )
    creations: inherited_grants.Creations | None = getattr(schema_editor, "creations", None)
    if creations:
        creations.keep("ROUTINE", oid)


def _oid(connection: BaseDatabaseWrapper, routine: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regprocedure(%s)::oid::bigint", [routine])
        found: int | None = cursor.fetchone()[0]
        return found
