"""Tests of how many processes serve: the share of each in a limit follows, also where a supervisor has read the settings before."""

from __future__ import annotations

import os
from typing import Any

import pytest

from opsconsole import serving

NAME = "OPSCONSOLE_WEB_PROCESSES"


@pytest.mark.parametrize(("told", "known"), [("", 4), ("7", 1)])
def test_settings_that_were_read_before_learn_the_number(
    monkeypatch: pytest.MonkeyPatch, settings: Any, told: str, known: int
) -> None:
    monkeypatch.setenv(NAME, told)
    settings.OPSCONSOLE_WEB_PROCESSES = 1
    serving._tell_settings(4)
    assert (settings.OPSCONSOLE_WEB_PROCESSES, os.environ[NAME]) == (known, told or "4")
