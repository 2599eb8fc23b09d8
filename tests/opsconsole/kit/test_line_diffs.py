"""Tests of the differences between two texts."""

from __future__ import annotations

import pytest

from opsconsole.kit import line_diffs


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\u202e", r"\u202e"),
        ("\u200b", r"\u200b"),
        ("\ufeff", r"\ufeff"),
        ("\xa0", r"\xa0"),
        ("\u2028", r"\u2028"),
        ("\x85", r"\x85"),
        ("\x1b", r"\x1b"),
    ],
)
def test_what_nobody_sees_is_shown(character: str, shown: str) -> None:
    changes = line_diffs.between("a\nMain Street 1", f"a\nMain{character} Street 1")

    assert changes == [
        ("place", "@@ -1,2 +1,2 @@"),
        ("same", " a"),
        ("removed", "-Main Street 1"),
        ("added", f"+Main{shown} Street 1"),
    ]


def test_what_everybody_sees_stays_as_it_is() -> None:
    [_, added] = line_diffs.between("", "\tCafé Blüte 😀")

    assert added == ("added", "+\tCafé Blüte 😀")


def test_end_of_the_last_line_is_no_line() -> None:
    assert line_diffs.between("a\n", "a") == []
