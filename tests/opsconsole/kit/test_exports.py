"""Tests of CSV exports: no spreadsheet runs a formula from them, and the text survives a round trip."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconsole.kit import exports

ROOT = Path(__file__).resolve().parents[3]
# Computed from Python's Unicode data, so that the test does not rely on the guard's own list.
UNSEEN = [
    chr(point)
    for point in range(0x3100)
    if chr(point).isspace() or unicodedata.category(chr(point)) in {"Cc", "Cf", "Zs", "Zl", "Zp"}
] + ["\ufeff", "\U000e0020"]
SIGNS = [*"=+-@", *"\uff1d\uff0b\uff0d\uff20", *"\ufe66\ufe62\ufe63\ufe6b", "\u2212"]
unseen = st.text(st.sampled_from(UNSEEN), max_size=4)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    "cell",
    [
        *("=1", " =1", "\n=1", "\xa0=1", "\t=1", "\r=1", "\ufeff=1", "\u200b=1", "\x00=1", "=", "--1"),
        *(
            "\tx",
            "\rx",
            " \tx",
            "-1+1",
            "+1|x",
            "@SUM(1)",
            " \uff1d1",
            "\uff0b1",
            "\uff0d1",
            "\uff20x",
            "\u22121+1",
        ),
    ],
)
def test_formula_text_is_neutralized(cell: str) -> None:
    assert exports.harmless(cell) == f"'{cell}"


@given(unseen, st.sampled_from(SIGNS), texts)
def test_formula_sign_after_invisible_characters_is_found(before: str, sign: str, after: str) -> None:
    cell = before + sign + after
    a_number = not before and exports.NUMBER.fullmatch(cell)

    assert exports.harmless(cell) == (cell if a_number else f"'{cell}")


@pytest.mark.parametrize(
    "cell", ["", " ", "CUST-1", "a=1", "'=1", "1 - 2", "(=1)", "12", "-12", "+12", "-1.5", "-1,5"]
)
def test_other_text_is_left_as_it_is(cell: str) -> None:
    assert exports.harmless(cell) == cell


@given(st.integers() | st.floats(allow_nan=False))
def test_numbers_stay_numbers(number: float) -> None:
    assert exports.harmless(number) is number


@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=4))
def test_csv_round_trip_preserves_text_except_apostrophe(rows: list[list[str]]) -> None:
    written = "".join(exports.csv_lines(["a", "b"], rows))

    head, *read = csv.reader(io.StringIO(written, newline=""))
    assert head == ["a", "b"]
    assert read == [[exports.harmless(cell) for cell in row] for row in rows]


def test_no_other_module_writes_csv() -> None:
    sources = [
        path
        for room in ("opsconsole", "opsconsole_worker", "jobs", "alerts", "ratelimits")
        for path in (ROOT / room).rglob("*.py")
    ]

    writers = [path.name for path in sources if "import csv" in path.read_text(encoding="utf-8")]
    assert writers == ["exports.py"]
