"""The helper that waits for a condition in tests."""

from __future__ import annotations

import pytest

from tests.waiting import wait_until


def test_returns_the_first_true_answer() -> None:
    answers = iter([0, "", None, "here"])
    assert wait_until(lambda: next(answers)) == "here"


def test_condition_is_asked_at_least_once_and_named_when_it_fails() -> None:
    assert wait_until(lambda: True, timeout=0)
    with pytest.raises(AssertionError, match=r"the flood did not come true within 0\.01 s: False"):
        wait_until(lambda: False, timeout=0.01, what="the flood")
