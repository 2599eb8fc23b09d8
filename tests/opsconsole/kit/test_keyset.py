"""Cursors of pages by keyset: what was written is read again, and any other text is refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from opsconsole.kit import keyset
from opsconsole.kit.keyset import Cursor, NoCursor

NOON = datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize("cursor", [Cursor(NOON, uuid4()), Cursor(None, uuid4()), Cursor(NOON)])
def test_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert keyset.read(cursor.text(), UUID) == cursor


@pytest.mark.parametrize(
    "said",
    [
        [None, None], [None, 5], [None, ["x"]], [None, "x"], [5, None], ["tomorrow", None], ["2030-01-31T12:00:00", None],
        ["0001-01-01T00:00:00+23:59", None], ["9999-12-31T23:59:59-23:59", None], [NOON.isoformat(), 5], [], {}, "ab", 7, None,
        [NOON.isoformat(), str(uuid4()), 1], json.loads("[" * 300 + "]" * 300), 10**400,
    ],
)  # fmt: skip
def test_anything_else_is_refused(said: Any) -> None:
    text = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    with pytest.raises(NoCursor):
        keyset.read(text, UUID)


@pytest.mark.parametrize("text", ["", "x", "é" * 9, "====", "AAAA", "[" * 999])
def test_text_that_is_not_encoded_is_refused(text: str) -> None:
    with pytest.raises(NoCursor):
        keyset.read(text, UUID)
