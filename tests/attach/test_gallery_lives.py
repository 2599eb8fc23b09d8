"""The console on pieces of the gallery, each with a real worker of its kind that dies by ``kill -9``.

One piece is tried in each run, because each takes a process of its own that migrates: the mapping is part of the models.
``GALLERY=all`` tries all that this version supports.
"""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest
from django.conf import settings

from tests import databases
from tests.attach.mapped import NO_QUEUE
from tests.attach.pieces import Piece, pieces
from tests.databases import REPOSITORY

FEW = {"domain_types", "named_workers", "numbers_for_times"}
LIVING = [piece for piece in pieces() if piece.supported and not piece.mapping().unsupported()]
CHOSEN = [piece for piece in LIVING if os.environ.get("GALLERY") == "all" or piece.name in FEW]


@pytest.mark.parametrize("piece", CHOSEN, ids=lambda piece: piece.name)
def test_console_recovers_what_a_killed_worker_left(piece: Piece, django_db_setup: None) -> None:
    database = databases.create(settings.DATABASES["default"])
    try:
        with psycopg.connect(database.url(), autocommit=True) as connection:
            piece.load(connection)
        done = subprocess.run(
            [sys.executable, "-m", "tests.attach.console_life", piece.name],
            cwd=REPOSITORY,
            env=os.environ
            | {
                "DATABASE_URL": database.url(),
                "OPSCONSOLE_MAPPING": str(piece.mapping_file),
                "SQS_QUEUE_URL": NO_QUEUE,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("lived\n")
    finally:
        databases.drop(database)
