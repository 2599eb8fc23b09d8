"""The gallery itself: each piece loads, and what is declared of it is true of its tables and rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings

from opsconsole.kit.mapping import CONTRACT_COLUMNS, STATUSES, TIMES, Jobs, Table
from tests import databases
from tests.attach.pieces import FOLDER, KEYS, Piece, pieces
from tests.databases import Database

ALL = pieces()
TYPES = {
    "uuid": {"uuid"},
    "bigint": {"bigint"},
    "integer": {"integer"},
    "text": {"text", "character varying"},
    "": {"timestamp with time zone"},
    "without_zone": {"timestamp without time zone"},
    "epoch_seconds": {"bigint", "integer"},
    "epoch_milliseconds": {"bigint"},
}
COLUMNS = """
SELECT attname::text, CASE WHEN typtype = 'd' THEN typbasetype ELSE atttypid END::regtype::text FROM pg_attribute
  JOIN pg_type ON pg_type.oid = atttypid WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""


@pytest.fixture(scope="module")
def empty(django_db_setup: None) -> Iterator[Database]:
    database = databases.create(settings.DATABASES["default"])
    yield database
    databases.drop(database)


def test_gallery_is_as_large_as_was_promised_and_refuses_few() -> None:
    names = {piece.name for piece in ALL}

    assert len(ALL) >= 20
    assert sum(not piece.supported for piece in ALL) <= 6
    assert {path.stem for path in FOLDER.glob("*.sql")} == names
    assert {piece.name for piece in ALL if piece.supported} == {
        path.name.removesuffix(".mapping.toml") for path in FOLDER.glob("*.mapping.toml")
    }
    for piece in ALL:
        assert piece.declared["verdict"] in {"supported", "refused"}, piece.name
        assert piece.declared["title"], piece.name
        assert set(piece.declared) <= KEYS, piece.name
        assert piece.supported or piece.declared["reason"], piece.name


@pytest.mark.parametrize("piece", ALL, ids=lambda piece: piece.name)
def test_declaration_is_true_of_tables_and_rows(piece: Piece, empty: Database) -> None:
    with piece.loaded(empty) as connection:
        if not piece.supported:
            table, column = piece.declared["table"], piece.declared["column"]
            assert not table or column in _columns(connection, table)
            return
        mapped = piece.mapping()
        for table in mapped.tables:
            _check_columns(connection, table)
        _check_words(connection, mapped.jobs, piece.doubts)


def _check_columns(connection: psycopg.Connection[Any], table: Table) -> None:
    present = _columns(connection, table.sql)
    assert bool(present) != table.absent, table.sql
    for column in CONTRACT_COLUMNS[table.contract]:
        actual = table.column(column)
        if table.has(column):
            assert actual in present, f"{table.sql} has no {actual}"
        if table.has(column) and column in TIMES[table.contract]:
            kind = table.times[column].kind if column in table.times else ""
            assert _plain(present[actual]) in TYPES[kind], f"{table.sql}.{actual} is {present[actual]}"
    if isinstance(table, Jobs):
        assert _plain(present[table.column("id")]) in TYPES[table.id_type]
        assert table.life.column is None or table.life.column in present


def _plain(kind: str) -> str:
    """Return the type without its length: "timestamp(3) without time zone"."""
    return kind.partition("(")[0] + kind.partition(")")[2]


def _check_words(connection: psycopg.Connection[Any], jobs: Jobs, doubts: frozenset[str]) -> None:
    """Some rows wait, run and are done; every other word is mapped, or left alone, which is shown."""
    column = jobs.sql_column("status")
    words = {word for (word,) in connection.execute(f"SELECT DISTINCT {column}::text FROM {jobs.sql}")}
    mapped = {word: status for status in STATUSES for word in jobs.words(status)}

    assert {"pending", "in_progress", "completed"} <= {mapped[word] for word in words if word in mapped}
    assert words - set(mapped) <= doubts | {"paused", "Suspended"}
    assert doubts <= words


def _columns(connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
    return dict(connection.execute(COLUMNS, [table]).fetchall())
