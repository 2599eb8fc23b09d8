"""Which rows ``bench.beats`` measures: an hour's worth of heartbeats in minutes needs some of them alone."""

from __future__ import annotations

import pytest

from bench import beats


def test_all_rows_without_a_word() -> None:
    assert beats._kinds("", pooler_found=True) == list(beats.KINDS.values())
    assert beats._kinds("", pooler_found=False) == [beats.BARE, beats.WHOLE, beats.OURS]


def test_only_the_rows_asked_for() -> None:
    assert beats._kinds("ours, bare", pooler_found=False) == [beats.OURS, beats.BARE]


@pytest.mark.parametrize("asked", ["our", "bare,text", "bare,"])
def test_rows_that_cannot_be_measured_are_refused(asked: str) -> None:
    with pytest.raises(SystemExit, match=r"can't be measured. Choose from bare, whole, ours"):
        beats._kinds(asked, pooler_found=False)
