"""Tests of one-line error texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from opsconsole.kit.errors import first_line

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.django_db
def test_postgresql_error_is_shown_without_query() -> None:
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT nothing_of_this_name")

    assert "LINE 1:" in str(caught.value)
    assert first_line(caught.value) == 'column "nothing_of_this_name" does not exist'


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DatabaseError("\n  gone  \r\nHINT: come back"), "gone"),
        (DatabaseError("one"), "one"),
        (DatabaseError(), "DatabaseError"),
        (DatabaseError(" \n "), "DatabaseError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_error_without_message_shows_its_class(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_no_other_module_formats_errors() -> None:
    sources = [
        path
        for room in ("opsconsole", "opsconsole_worker", "jobs", "alerts", "ratelimits")
        for path in (ROOT / room).rglob("*.py")
    ]

    apart = [
        path.name for path in sources if "str(error).strip().partition" in path.read_text(encoding="utf-8")
    ]
    assert apart == ["errors.py"]
