"""Tests of display helpers: times shown as ages with the exact time as title, and escaped external text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from opsconsole.kit import display
from opsconsole.kit.durations import spell, unbroken

NOW = datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3_599, "59 min"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (35_999, "9 h 59 min"),
        (36_000, "10 h"),
        (86_399, "23 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_ages_in_columns(seconds: int, words: str) -> None:
    assert display.rough(timedelta(seconds=seconds)) == words


def test_age_carries_the_exact_time() -> None:
    shown = display.age(NOW - timedelta(minutes=5), NOW, suffix=" ago")

    assert 'datetime="2026-03-01T12:25:45+00:00"' in shown
    assert 'title="2026-03-01 12:25:45 UTC"' in shown
    assert ">5\N{NO-BREAK SPACE}min ago<" in shown


def test_future_time() -> None:
    assert ">in 5\N{NO-BREAK SPACE}min<" in display.age(NOW + timedelta(minutes=5), NOW, suffix=" ago")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("1 h 39 min ago", "1_h 39_min ago"),
        ("38 ms", "38_ms"),
        ("in 3 d 23 h", "in 3_d 23_h"),
        ("0.1 s", "0.1_s"),
        ("any moment", "any moment"),
        ("2026-03-01 12:25:45 UTC", "2026-03-01 12:25:45 UTC"),
    ],
)
def test_lines_break_between_the_parts_of_a_duration_only(words: str, shown: str) -> None:
    assert unbroken(words) == shown.replace("_", "\N{NO-BREAK SPACE}")


def test_missing_time() -> None:
    assert display.age(None) == display.NOTHING


def test_external_markup_is_escaped() -> None:
    assert "<b>" not in display.badge("<b>x</b>", "<b>")
    assert "<b>" not in display.pretty({"<b>": "<b>"})
    assert "<b>" not in display.moment(NOW, "<b>")


def test_json_is_indented_and_readable() -> None:
    assert "Blüte" in display.pretty({"name": "Blüte"})
    assert "\n  " in display.pretty({"a": 1})


def test_negative_duration_is_shown_as_zero() -> None:
    assert spell(timedelta(seconds=-5)) == "0 s"
