"""What an upgrade took from others, and what it left to them, on tables and functions that earlier versions created."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from jobs.inspection import names
from opsconsole import own_tables
from opsconsole.kit.counting import exactly
from opsconsole.kit.inherited_grants import Grant

CLOSES = ("opsconsole", "0006_inherited_grants")
NOUNS = {"TABLE": "table", "SEQUENCE": "sequence", "ROUTINE": "function"}
MOST_NAMED = 3


def before(runtime_role: str) -> list[Grant] | None:
    """Return what others may do now, if the coming ``migrate`` closes the tables of an earlier version."""
    if names.history_place() is None or CLOSES in MigrationRecorder(connection).applied_migrations():
        return None
    return own_tables.grants_of_others(runtime_role)


def sentences(had: Iterable[Grant], runtime_role: str) -> Iterator[str]:
    """Yield what others lost since, and what they kept with how to revoke it."""
    kept = own_tables.grants_of_others(runtime_role)
    has = {(grant.kind, grant.object, grant.grantee): _each(grant) for grant in kept}
    lost: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for grant in had:
        gone = _each(grant) - has.get((grant.kind, grant.object, grant.grantee), set())
        if gone:
            lost[grant.grantee, ", ".join(sorted(gone)), grant.kind].append(grant.object)
    if lost:
        yield (
            "Default privileges had given these privileges to roles that nobody named for them. They were revoked. What a role "
            "of yours needs, grant it by name (docs/workers.md):"
        )
    for (grantee, privileges, kind), objects in sorted(lost.items()):
        shown = ", ".join(objects[:MOST_NAMED]) + (", ..." if len(objects) > MOST_NAMED else "")
        yield f"  {grantee}: {privileges} on {exactly(len(objects), NOUNS[kind])} ({shown})"
    if kept:
        yield "These privileges were granted by name, and stay. Whoever should not have them loses them with:"
    for grant in kept:
        yield f"  {grant.revoke};"


def _each(grant: Grant) -> set[str]:
    return set(grant.privileges.split(", "))
