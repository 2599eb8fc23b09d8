"""Tests of cursors that bind values on the server."""

from __future__ import annotations

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from jobs.recovery.binary_values import binary_cursor


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", [None, "public, pg_temp"])
def test_first_statement_of_a_transaction_may_have_values(
    path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the search path travels with statements (behind a pooler), it can't be in one message with such a statement."""
    connections[DEFAULT_DB_ALIAS].ensure_connection()
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "_search_path", path)
    with binary_cursor() as cursor:
        cursor.execute(
            "SELECT sum(number), current_setting('search_path') FROM unnest(%s::int[]) AS number", [[1, 2]]
        )
        total, seen = cursor.fetchone()
    assert total == 3
    assert path is None or seen == path
