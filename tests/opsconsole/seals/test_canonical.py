"""The canonical form, held by known answers: a change of it would make every stored seal look broken."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.db import connection

from opsconsole.seals import canonical, id_ranges, rows
from opsconsole.seals.canonical import ContentHash, SealFacts

EVENT = """
INSERT INTO job_events (id, job_id, at, kind, run_epoch, actor, user_id, reason, details)
VALUES (%s, '6f1f5c3e-6a0e-4a53-9a2d-0b5a3c0d7e11', '2026-11-26 21:03:10.5+01', 'requeued', 2, 'operator:ada', NULL,
        'Ünïcode, 3:x', %s)
"""


def digest(source: str, number: int) -> str:
    content = ContentHash()
    content.add(row.texts for row in rows.read(source, [(number, number)], 10))
    assert content.count == 1
    return content.text()


def test_encoding_is_unambiguous() -> None:
    assert canonical.encoded(["abc", None, "", "ü,"]) == b"3:abc,-,0:,3:\xc3\xbc,,"
    different: list[list[str | None]] = [
        ["ab", "c"],
        ["a", "bc"],
        ["abc", ""],
        ["abc", None],
        ["abc"],
        ["abc", "-"],
    ]
    assert len({canonical.encoded(texts) for texts in different}) == len(different)


def test_known_answers() -> None:
    content = ContentHash()
    content.add([["1", None, "x"], ["2", "", "y"]])
    assert content.text() == "049b57dd7b81fcbe820de818e6e229bb53dfd7c0da68461fb2079a2a0ad71533"
    sealed = SealFacts(
        number=7,
        previous="ab",
        source="audit",
        existing=False,
        ids="1-2",
        row_count=2,
        content="cd",
        sealed_at="2026-11-26T20:03:10.500000",
    )
    assert sealed.hash() == "25a64ad2d3cc9480363e686190e2bad0ce82e80c9847319410aa84e10763fb27"


@pytest.mark.django_db
def test_event_has_the_same_hash_in_every_session_and_spelling() -> None:
    spellings = [
        '{"b": 1.50, "a": {"y": null, "x": [1, 2]}, "big": 12345678901234567890.123456789}',
        json.dumps({"big": 0, "a": {"x": [1, 2], "y": None}, "b": 0})
        .replace('"big": 0', '"big":12345678901234567890.123456789')
        .replace('"b": 0', '"b":1.50'),
    ]
    hashes = set()
    with connection.cursor() as cursor:
        for number, spelling in enumerate(spellings):
            # The ids would differ, so each is looked at with the same one.
            cursor.execute("SAVEPOINT one")
            cursor.execute(EVENT, [99, spelling])
            for zone, style in (("UTC", "ISO, MDY"), ("Asia/Kathmandu", "German, DMY")):
                cursor.execute(
                    "SELECT set_config('TimeZone', %s, true), set_config('DateStyle', %s, true)",
                    [zone, style],
                )
                cursor.execute("SELECT set_config('extra_float_digits', %s, true)", [str(number)])
                hashes.add(digest("timeline", 99))
            cursor.execute("ROLLBACK TO one")
    assert hashes == {"bc30a6c637102491fb1945de72d25ed164c67e5a330dd89246bbe66172af589a"}


def test_numbers_keep_their_digits() -> None:
    assert canonical.encoded([str(Decimal("1.50"))]) != canonical.encoded(["1.5"])


@pytest.mark.parametrize(
    ("ids", "text"),
    [([], ""), ([5], "5"), ([1, 2, 3, 7, 9, 10], "1-3,7,9-10"), ([-5, -4, 0, 1], "-5--4,0-1")],
)
def test_ranges_are_read_back(ids: list[int], text: str) -> None:
    ranges = id_ranges.of_ids(ids)
    assert id_ranges.as_text(ranges) == text
    assert id_ranges.from_text(text) == ranges
    assert id_ranges.size(ranges) == len(ids)


def test_gaps_are_what_ranges_leave_out() -> None:
    assert list(id_ranges.gaps((1, 10), [(2, 3), (5, 5), (9, 20)])) == [(1, 1), (4, 4), (6, 8)]
    assert list(id_ranges.gaps((1, 10), [])) == [(1, 10)]
    assert list(id_ranges.gaps((4, 6), [(1, 9)])) == []
    assert list(id_ranges.gaps((1, 3), [(5, 9)])) == [(1, 3)]
