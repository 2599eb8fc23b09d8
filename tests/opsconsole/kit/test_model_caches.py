"""Tests of what models keep: it is worked out before processes are forked, without a database."""

from __future__ import annotations

import subprocess
import sys

from tests.repository import REPOSITORY

FILLED = """
import django
django.setup()
from django.db import connection
from jobs.models import Job
from opsconsole.kit import model_caches
assert "cached_col" not in vars(Job._meta.pk), "it is kept already"
model_caches.fill()
assert connection.connection is None, "it asked the database"
print("cached_col" in vars(Job._meta.pk), "concrete_fields" in vars(Job._meta))
"""


def test_models_keep_what_their_first_statement_works_out() -> None:
    told = subprocess.run(
        [sys.executable, "-c", FILLED],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.stdout.split() == ["True", "True"], told.stderr
