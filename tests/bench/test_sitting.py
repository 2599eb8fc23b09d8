"""A sitting writes what each benchmark prints into docs/benchmarks.md, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import sitting

PAGE = "before\n<!-- figures of bench-x -->\nold\n\n<!-- end of bench-x -->\nafter\n"


def test_figures_stand_between_the_marks() -> None:
    once = sitting.with_figures(PAGE, "x", r"a \1 table")

    assert once == ("before\n<!-- figures of bench-x -->\n\na \\1 table\n\n<!-- end of bench-x -->\nafter\n")
    assert sitting.with_figures(once, "x", r"a \1 table") == once


@pytest.mark.parametrize("page", ["", PAGE * 2, PAGE.replace("end of", "the end of")])
def test_a_page_without_the_marks_is_refused(page: str) -> None:
    with pytest.raises(
        ValueError, match="has to hold <!-- figures of bench-x --> and <!-- end of bench-x -->"
    ):
        sitting.with_figures(page, "x", "a table")


def test_the_page_and_the_makefile_know_every_benchmark_of_a_sitting() -> None:
    page = sitting.PAGE.read_text()
    makefile = Path("Makefile").read_text()
    names = [benchmark.name for benchmark in sitting.SITTING]

    assert sorted(re.findall(r"<!-- figures of bench-(\S+) -->", page)) == sorted(names)
    for benchmark in sitting.SITTING:
        sitting.with_figures(page, benchmark.name, "")
        assert re.search(rf"^{benchmark.made}:", makefile, re.MULTILINE), benchmark


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_ONLY", "recovery,page")

    with pytest.raises(
        SystemExit, match=r"No benchmark of a sitting is called page\. Choose from recovery, pages"
    ):
        sitting.main()
