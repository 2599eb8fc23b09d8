"""Tests that pages can say what is lost without a column."""

from __future__ import annotations

from pytest_django.fixtures import Settings

from jobs.models import absent_columns
from opsconsole.kit.mapping import CONTRACT_COLUMNS
from opsconsole_worker.mapping.mapping_file import parse


def test_each_absent_column_has_its_sentence(settings: Settings) -> None:
    assert absent_columns.sentences() == []

    settings.OPSCONSOLE_MAPPING = parse("[jobs.columns]\nstarted_at = false\npriority_level = false")
    priority, start = absent_columns.sentences()
    assert priority == "There is no column priority_level: jobs and messages have no priority."
    assert start.startswith("There is no column started_at: a run counts from the last change of its row, ")
    assert len(absent_columns.sentences(*absent_columns.OF_RUNS)) == 1


def test_each_column_that_may_be_absent_has_a_sentence() -> None:
    absent = "".join(f"{name} = false\n" for name in absent_columns.LOST if name in CONTRACT_COLUMNS["jobs"])
    refused = parse(f"[jobs.columns]\n{absent}").unsupported()
    assert len(refused) == 1
    assert "updated_at and started_at can't both be false" in refused[0]
