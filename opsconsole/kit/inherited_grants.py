"""Privileges that default privileges give to others on what the console creates, and their withdrawal.

``ALTER DEFAULT PRIVILEGES`` gives each new table to roles that nobody named for it: every Supabase project gives all
tables of ``public`` to the role behind its public key. What the console creates is taken back before it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import DatabaseError, transaction

from opsconsole.kit import mapping
from opsconsole.kit.errors import first_line

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# Everything with privileges in the schemas of the search path, and those schemas.
_PATH = "WITH path AS (SELECT oid AS schema, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = ANY (current_schemas(false)))"
# Also those of the objects that are asked about: a mapped table may be in a schema that no session searches.
_ASKED = "oid IN (SELECT relnamespace FROM pg_class WHERE oid = ANY (%(oids)s::oid[]))"
_PATH_AND_ASKED = f"{_PATH.removesuffix(')')} OR {_ASKED})"
_OBJECTS = """
SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, oid, relowner AS owner, relacl AS acl,
       quote_ident(nspname) || '.' || quote_ident(relname) AS name, schema
  FROM pg_class JOIN path ON schema = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
UNION ALL
SELECT 'ROUTINE', oid, proowner, coalesce(proacl, acldefault('f', proowner)),
       quote_ident(nspname) || '.' || quote_ident(proname) || '(' || pg_get_function_identity_arguments(oid) || ')', schema
  FROM pg_proc JOIN path ON schema = pronamespace
UNION ALL
SELECT 'SCHEMA', schema, nspowner, nspacl, quote_ident(nspname), NULL FROM path
"""
_PRESENT = f"{_PATH} SELECT kind, oid::bigint FROM ({_OBJECTS}) AS object"  # noqa: S608 - constants
_COLUMNS = (
    "SELECT attacl FROM pg_attribute WHERE kind = 'TABLE' AND attrelid = object.oid AND attacl IS NOT NULL"
)
_GRANTS = f"""
{_PATH_AND_ASKED}
SELECT kind, object.oid::bigint, object.name, coalesce(quote_ident(rolname), 'PUBLIC'), string_agg(DISTINCT privilege_type, ', ')
  FROM ({_OBJECTS}) AS object
 CROSS JOIN LATERAL (SELECT acl UNION ALL ({_COLUMNS})) AS list (entries)
 CROSS JOIN LATERAL aclexplode(entries)
  LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> owner AND (%(all)s OR object.oid = ANY (%(oids)s::oid[])) AND (NOT %(by_owner)s OR grantor = owner)
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4
"""  # noqa: S608 - constants
_KIND = "CASE defaclobjtype WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'ROUTINE' WHEN 'n' THEN 'SCHEMA' END"
# Roles that have on an object nothing but what default privileges give on one of its kind and schema.
_INHERITED = f"""
{_PATH},
object AS ({_OBJECTS}),
held AS (
    SELECT kind, oid, owner, schema, name, grantee, privilege_type, grantor <> owner OR is_column AS is_special
      FROM object
     CROSS JOIN LATERAL (SELECT acl, false UNION ALL SELECT attacl, true FROM ({_COLUMNS}) AS own) AS list (entries, is_column)
     CROSS JOIN LATERAL aclexplode(entries) WHERE grantee <> owner),
given AS (
    SELECT {_KIND} AS kind, defaclrole AS giver, defaclnamespace AS schema, grantee, privilege_type
      FROM pg_default_acl CROSS JOIN LATERAL aclexplode(defaclacl)
    UNION ALL SELECT 'ROUTINE', NULL, 0, 0, 'EXECUTE'),
peer AS (SELECT kind, count(*) AS total FROM object WHERE oid = ANY (%(peers)s::oid[]) GROUP BY kind),
common AS (
    SELECT kind, grantee, privilege_type, count(*) AS times
      FROM held WHERE oid = ANY (%(peers)s::oid[]) AND NOT is_special GROUP BY kind, grantee, privilege_type)
SELECT held.kind, held.oid::bigint, name, coalesce(quote_ident(rolname), 'PUBLIC'),
       string_agg(DISTINCT held.privilege_type, ', ')
  FROM held LEFT JOIN peer USING (kind) LEFT JOIN common USING (kind, grantee, privilege_type)
  LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE held.oid = ANY (%(oids)s::oid[])
 GROUP BY 1, 2, 3, 4
HAVING bool_and(
    NOT is_special
    AND (total IS NULL OR 2 * coalesce(times, 0) > total)
    AND EXISTS (SELECT FROM given
                 WHERE given.kind = held.kind AND given.schema IN (0, held.schema) AND given.grantee = held.grantee
                   AND given.privilege_type = held.privilege_type
                   -- The owner may have been another when the object was created: then its peers show it.
                   AND (giver IS NULL OR giver = owner OR total IS NOT NULL)))
 ORDER BY 1, 3, 4
"""  # noqa: S608 - constants
_DEFAULTS = f"""
SELECT {_KIND},
       coalesce(quote_ident(grantees.rolname), 'PUBLIC'), quote_ident(givers.rolname), quote_ident(nspname)
  FROM pg_default_acl CROSS JOIN LATERAL aclexplode(defaclacl)
  JOIN pg_roles AS givers ON givers.oid = defaclrole
  LEFT JOIN pg_roles AS grantees ON grantees.oid = grantee
  LEFT JOIN pg_namespace ON pg_namespace.oid = defaclnamespace
 WHERE defaclobjtype IN ('r', 'S', 'f', 'n') AND grantee <> defaclrole
   -- PostgreSQL's own default is there as soon as anything else is.
   AND NOT (defaclobjtype = 'f' AND grantee = 0)
   AND (defaclnamespace = 0 OR nspname = ANY (current_schemas(false)) OR defaclnamespace IN (
        SELECT relnamespace FROM unnest(%(tables)s::text[]) AS name JOIN pg_class ON pg_class.oid = to_regclass(name)))
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""  # noqa: S608 - constants
_EVENT_TRIGGERS = "SELECT quote_ident(evtname) FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1"


@dataclass(frozen=True)
class Grant:
    """What a role, or PUBLIC, may do with an object that it doesn't own. All names are quoted."""

    kind: str
    oid: int
    object: str
    grantee: str
    privileges: str

    @property
    def revoke(self) -> str:
        return f"REVOKE {self.privileges} ON {self.kind} {self.object} FROM {self.grantee} CASCADE"


@dataclass(frozen=True)
class DefaultPrivilege:
    """What each new object of a kind gives to a role when ``giver`` creates it, in one schema or (None) in all."""

    kind: str
    grantee: str
    giver: str
    schema: str | None

    @property
    def revoke(self) -> str:
        schema = f" IN SCHEMA {self.schema}" if self.schema else ""
        return f"ALTER DEFAULT PRIVILEGES FOR ROLE {self.giver}{schema} REVOKE ALL ON {self.kind}S FROM {self.grantee}"


class Creations:
    """What a transaction creates in the schemas of the search path."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.present = self._objects()

    def keep(self, kind: str, oid: int) -> None:
        """Leave the privileges of this new object alone: whoever created it has settled them."""
        self.present.add((kind, oid))

    def take_back(self) -> None:
        """Revoke what others may do with the new objects. Raise ``CommandError`` if any of it stays."""
        new = self._objects() - self.present
        if not new:
            return
        revoke(self.connection, self._grants(new))
        refuse_if_any(self.connection, self._grants(new))

    def _objects(self) -> set[tuple[str, int]]:
        return {(kind, oid) for kind, oid in _rows(self.connection, _PRESENT)}

    def _grants(self, new: set[tuple[str, int]]) -> list[Grant]:
        # An oid is unique per kind only.
        found = grants(self.connection, [oid for _, oid in new])
        return [grant for grant in found if (grant.kind, grant.oid) in new]


@contextmanager
def taken_back(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Revoke what others may do with the objects that are created meanwhile, in the same transaction."""
    with transaction.atomic(using=connection.alias):
        creations = Creations(connection)
        yield
        creations.take_back()


def grants(
    connection: BaseDatabaseWrapper, oids: list[int] | None = None, *, by_owner: bool = False
) -> list[Grant]:
    """Return what others than the owners may do with the objects in the schemas of the search path, or with some of them.

    ``by_owner``: without what others passed on.
    """
    given = {"all": oids is None, "oids": oids or [], "by_owner": by_owner}
    return [Grant(*row) for row in _rows(connection, _GRANTS, given)]


def inherited(connection: BaseDatabaseWrapper, oids: list[int], *, peers: list[int]) -> list[Grant]:
    """Return what default privileges gave to others on these existing objects.

    PostgreSQL does not note what was granted by name. But a default gives a privilege on each new object of a kind, so a
    role that lacks it on most ``peers``, which are such objects, did not get it that way. And a role that has more on an
    object than a default gives (another privilege, a single column, something that a third role passed on) was named for
    that object: then all that it has there is left out.
    """
    return [Grant(*row) for row in _rows(connection, _INHERITED, {"oids": oids, "peers": peers})]


def take_back(connection: BaseDatabaseWrapper, found: list[Grant]) -> None:
    """Revoke these privileges, and look again. Raise ``CommandError`` if any of them stays."""
    revoke(connection, found)
    taken = {(grant.kind, grant.oid, grant.grantee): set(grant.privileges.split(", ")) for grant in found}
    left = grants(connection, [grant.oid for grant in found], by_owner=True)
    refuse_if_any(
        connection,
        [
            grant
            for grant in left
            if taken.get((grant.kind, grant.oid, grant.grantee), set()) & set(grant.privileges.split(", "))
        ],
    )


def refuse_if_any(connection: BaseDatabaseWrapper, left: list[Grant]) -> None:
    """Raise ``CommandError`` if there is a privilege that came back, and name the cause."""
    if left:
        raise CommandError(_refusal(connection, left[0]))


def revoke(connection: BaseDatabaseWrapper, found: Iterable[Grant]) -> None:
    """Take these privileges back. Raise ``CommandError`` when the database refuses."""
    with connection.cursor() as cursor:
        for grant in found:
            try:
                cursor.execute(grant.revoke)
            except DatabaseError as error:
                raise CommandError(
                    f"{grant.grantee} may {grant.privileges} on {grant.object}, and that could not be taken back: "
                    f"{first_line(error)} Nothing was changed. As a role that may, run: {grant.revoke};"
                ) from error


def defaults(connection: BaseDatabaseWrapper) -> list[DefaultPrivilege]:
    """Return the default privileges that concern new objects in the schemas of the search path and of contract tables."""
    tables = [table.sql for table in mapping.current().tables]
    return [DefaultPrivilege(*row) for row in _rows(connection, _DEFAULTS, {"tables": tables})]


def named_by_defaults(connection: BaseDatabaseWrapper) -> set[str]:
    """Return the roles, quoted, that get privileges on new objects without being named for them."""
    return {default.grantee for default in defaults(connection)}


def _refusal(connection: BaseDatabaseWrapper, grant: Grant) -> str:
    [(user,)] = _rows(connection, "SELECT quote_ident(current_user)")
    causes = [
        default.revoke
        for default in defaults(connection)
        if (default.kind, default.grantee, default.giver) == (grant.kind, grant.grantee, user)
    ] or [f"ALTER EVENT TRIGGER {name} DISABLE" for (name,) in _rows(connection, _EVENT_TRIGGERS)]
    advice = "; ".join(causes) or grant.revoke
    return (
        f"{grant.grantee} would be able to {grant.privileges} on {grant.object}, which this migration creates or closes: the "
        f"privilege came back after it was revoked. The migration was undone. Run: {advice}; then run migrate again."
    )


def _rows(
    connection: BaseDatabaseWrapper, statement: str, parameters: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
