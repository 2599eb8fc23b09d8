"""Database sessions of strangers: open transactions that hold locks in the tests' own database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from django.db import connection

OtherSession: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


@contextmanager
def other_session() -> Iterator[OtherSession]:
    """Open a transaction in another session; what it did is rolled back at the end unless it was committed."""
    described = connection.settings_dict
    with psycopg.connect(host=described["HOST"], user=described["USER"], dbname=described["NAME"]) as session:
        try:
            yield session
        finally:
            session.rollback()
