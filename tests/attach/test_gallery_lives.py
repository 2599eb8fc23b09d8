"""The console on pieces of the gallery, each with a real worker of its kind that dies by ``kill -9``, and without a trace at the end.

Each piece takes a process of its own that migrates, because the mapping is part of the models. So only two are tried in a run:
others each day, all of them within two weeks. ``GALLERY=all`` tries all, ``GALLERY=supabase,prisma`` these.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import psycopg
import pytest
from django.conf import settings

from tests import databases, dumps
from tests.attach.mapped import NO_QUEUE
from tests.attach.pieces import Piece, pieces
from tests.databases import REPOSITORY

IN_A_RUN = 2
LIVING = [piece for piece in pieces() if piece.supported]


def chosen() -> list[Piece]:
    """Return the pieces of this run."""
    names = os.environ.get("GALLERY", "")
    if names:
        return [piece for piece in LIVING if names == "all" or piece.name in names.split(",")]
    first = datetime.now(UTC).date().toordinal() * IN_A_RUN
    return [LIVING[(first + number) % len(LIVING)] for number in range(IN_A_RUN)]


def test_every_supported_piece_is_supported_by_this_version() -> None:
    assert [piece.name for piece in LIVING if piece.mapping().unsupported()] == []


@pytest.mark.parametrize("piece", chosen(), ids=lambda piece: piece.name)
def test_console_recovers_what_a_killed_worker_left(piece: Piece, django_db_setup: None) -> None:
    database = databases.create(settings.DATABASES["default"])
    try:
        with psycopg.connect(database.url(), autocommit=True) as connection:
            piece.load(connection)
        before = dumps.schema(database)
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
        left = database.manage("uninstall", "--yes", OPSCONSOLE_MAPPING=str(piece.mapping_file))
        assert left.returncode == 0, left.stdout + left.stderr
        assert dumps.schema(database) == before
    finally:
        databases.drop(database)
