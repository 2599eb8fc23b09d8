"""Tests of cursors that bind values on the server."""

from __future__ import annotations

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections

from opsconsole.kit.postgresql.binary_values import binary_cursor


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


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["citext", "state", "state_in_use", "text", "uuid", "bigint"])
def test_ids_and_words_of_any_type_are_read_as_elsewhere(kind: str) -> None:
    value = {"uuid": "5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901", "bigint": "4711"}.get(kind, "läuft")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE EXTENSION citext; CREATE TYPE state AS ENUM ('läuft'); CREATE DOMAIN state_in_use AS state"
        )
        cursor.execute(f"SELECT '{value}'::{kind}")
        [as_elsewhere] = cursor.fetchone()
    with binary_cursor() as cursor:
        cursor.execute(f"SELECT '{value}'::{kind}")
        assert cursor.fetchone() == (as_elsewhere,)
