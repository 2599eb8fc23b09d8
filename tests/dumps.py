"""Dumps of a database's schema with owners, privileges and settings, to compare what was with what is."""

from __future__ import annotations

import subprocess

from opsconsole.embedded.postgres import POSTGRES
from tests.databases import Database

PG_DUMP = POSTGRES / "bin" / "pg_dump"


def schema(database: Database) -> list[str]:
    """Return the lines of ``pg_dump --create --schema-only`` that say something about the database."""
    done = subprocess.run(
        [
            *(PG_DUMP, "--create", "--schema-only", "--host", database.server["host"]),
            *("--username", database.server["user"], database.name),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # The key of \restrict is new in each dump.
    return [
        line
        for line in done.stdout.splitlines()
        if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
    ]
