"""What only superusers and the owner of the tables can do to the audit: switch triggers off, and change what they protect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def without_triggers() -> Iterator[None]:
    """Switch the triggers of this session off for a while, as a superuser may."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("SET session_replication_role = DEFAULT")


def tamper(statement: str, *given: str | int) -> None:
    """Execute a statement that triggers refuse, behind their back."""
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute(statement, given or None)
