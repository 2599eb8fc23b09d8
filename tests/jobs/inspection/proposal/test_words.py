"""Tests of the words that a proposal finds for statuses."""

from __future__ import annotations

import pytest

from jobs.inspection.proposal.words import divide
from opsconsole.kit.mapping import STATUSES


def test_words_of_the_contract_need_not_all_be_in_use() -> None:
    """At a quiet hour no job waits in a table that has the contract's words."""
    found = divide(["failed", "completed", "in_progress"], free=True)
    assert found.by_status == {status: (status,) for status in STATUSES}
    assert found.doubts == ("'pending' is in none of the rows that were read: taken as its own word",)


@pytest.mark.parametrize(
    ("present", "free"),
    [
        (["failed", "completed", "in_progress"], False),
        (["failed", "completed"], True),
        (["failed", "completed", "running"], True),
        (["error", "completed", "in_progress"], True),
    ],
    ids=["only these words are allowed", "no run", "another word for a run", "another word for a failure"],
)
def test_other_words_are_not_guessed(present: list[str], free: bool) -> None:
    assert divide(present, free=free).by_status["pending"] == ()
