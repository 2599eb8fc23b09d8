"""Tests of the migrations that the code requires: Django's own list, without importing a migration."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.db import OperationalError
from django.db.migrations.loader import MigrationLoader

from opsconsole.kit import schema_version
from tests.repository import REPOSITORY

ASKED = """
import sys
import django
django.setup()
from opsconsole.kit import schema_version
assert schema_version.required()
print(*[name for name in sys.modules if ".migrations.0" in name])
"""


def test_required_migrations_are_those_that_django_finds() -> None:
    found = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    assert schema_version.required() == found.keys()


def test_no_migration_is_imported_to_learn_its_name() -> None:
    """Each process asks, and would keep 9 MB."""
    told = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.split() == []


def test_programs_start_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse() -> bool:
        asked.append(True)
        raise OperationalError("connection refused")

    monkeypatch.setattr(schema_version, "is_behind", refuse)
    schema_version.ask_before_forks()
    assert asked == [True]
