"""Tests of the objects that a process keeps for some seconds."""

from __future__ import annotations

from typing import Any

import pytest

from opsconsole.kit import kept_objects
from opsconsole.kit.kept_objects import KeptObjects


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds of the clock, which a test moves."""
    now = [1000.0]
    monkeypatch.setattr(kept_objects, "monotonic", lambda: now[0])
    return now


@pytest.mark.usefixtures("seconds")
def test_gives_the_very_object_that_was_set() -> None:
    kept, figures = KeptObjects(), {"waiting": 4}
    kept.set("figures", figures, 5)
    assert kept.get("figures") is figures


def test_forgets_when_its_time_is_over(seconds: list[float]) -> None:
    kept = KeptObjects()
    kept.set("figures", "old", 5)
    kept.set("rows", "longer", 20)
    seconds[0] += 5
    assert kept.get("figures") is None
    assert kept.get("rows") == "longer"
    kept.set("figures", "new", 5)
    assert kept.get("figures") == "new"


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize("nothing", [0, False, "", ()])
def test_keeps_what_is_false(nothing: Any) -> None:
    kept = KeptObjects()
    kept.set("count", nothing, 5)
    assert kept.get("count") == nothing


@pytest.mark.usefixtures("seconds")
def test_forgets_what_is_deleted() -> None:
    kept = KeptObjects()
    for key in ("charts", "courses", "figures"):
        kept.set(key, key, 5)
    kept.delete_many(["charts", "courses", "never set"])
    assert [kept.get(key) for key in ("charts", "courses", "figures")] == [None, None, "figures"]
    kept.clear()
    assert kept.get("figures") is None
