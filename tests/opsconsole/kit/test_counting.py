"""Tests of counts in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from opsconsole.kit.counting import exactly, figure, many, plural

ROOT = Path(__file__).resolve().parents[3]
# Code that chooses a word or adds an "s" by comparing a number with one.
BY_HAND = re.compile(
    r"""\{''? if \w+ == 1|\{'s' if|(?:job|run|message|alert|letter)s?' if [\w.]+ == 1|:,\}\+"""
)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (10_000, "10,000 jobs"), (10_001, "10,000+ jobs")],
)
def test_bounded_count(number: int, words: str) -> None:
    assert many(number, "job") == words
    assert figure(number) == words.partition(" ")[0]


def test_count_with_lower_bound() -> None:
    assert figure(3, 2) == "2+"


def test_exact_count_is_shown_in_full() -> None:
    assert exactly(12_345, "job") == "12,345 jobs"
    assert exactly(1, "job") == "1 job"


def test_irregular_plural() -> None:
    assert many(1, "job waits", "jobs wait") == "1 job waits"
    assert exactly(2, "failed log-in", "failed log-ins") == "2 failed log-ins"
    assert plural(2, "its", "their") == "their"


def test_only_one_module_makes_plurals_and_caps_counts() -> None:
    sources = [
        path
        for room in ("opsconsole", "opsconsole_worker", "jobs", "alerts", "ratelimits")
        for path in (ROOT / room).rglob("*.py")
    ]

    by_hand = [path.name for path in sources if BY_HAND.search(path.read_text(encoding="utf-8"))]
    assert by_hand == ["counting.py"]
