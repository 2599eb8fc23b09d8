"""Tests of the promise about living runs: one sentence for each way in which life is told."""

from __future__ import annotations

import pytest

from jobs.runs import life_wording
from opsconsole.kit.mapping import LIVES, Life


@pytest.mark.parametrize("told_by", LIVES)
def test_each_promise_is_one_sentence(told_by: str) -> None:
    promise = life_wording.promise(Life(told_by, "locked_at" if told_by == "job_column" else None))

    assert promise.startswith("A run is taken no earlier than ")
    assert promise.count(".") == 1 and promise.endswith(".")
    assert "10 min" in promise or told_by == "visibility"
    assert ("locked_at" in promise) == (told_by == "job_column")


def test_promise_is_that_of_this_database() -> None:
    assert life_wording.promise() == life_wording.promise(Life("beats"))
