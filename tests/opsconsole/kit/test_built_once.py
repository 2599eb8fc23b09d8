"""What is built once is the same whenever it is built: nothing of the moment, and of the request, is in it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.expressions import RawSQL
from django.urls import get_resolver
from django.utils import timezone

from opsconsole.kit import built_once
from opsconsole.kit.compiled_rows import CompiledRows
from opsconsole.kit.one_statement import Reading
from opsconsole.overview import current_figures

# Of those builders that have arguments.
ARGUMENTS: dict[str, tuple[Any, ...]] = {"_stale": ("any",), "_lost": ("day",), "_silent": (5,)}


def _builders() -> list[Any]:
    """Return the builders of all modules: the addresses import what answers them."""
    assert get_resolver().url_patterns
    return built_once.builders


def _asked(built: Any) -> Any:
    """Return the statements of what was built, with their parameters."""
    if isinstance(built, dict):
        return {name: _asked(each) for name, each in built.items()}
    if isinstance(built, tuple):
        return [_asked(each) for each in built]
    # JSON in parameters has no equality of its own.
    return (
        (built.sql, repr(built.params)) if isinstance(built, Reading | CompiledRows | RawSQL) else repr(built)
    )


@pytest.mark.django_db
def test_what_is_built_once_would_be_the_same_on_another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> dict[str, Any]:
        builders = (each.__wrapped__ for each in _builders())
        return {
            f"{build.__module__}.{build.__name__}": _asked(build(*ARGUMENTS.get(build.__name__, ())))
            for build in builders
        }

    today = asked()
    later = timezone.now() + timedelta(days=40)
    monkeypatch.setattr(timezone, "now", lambda: later)

    assert {"opsconsole.overview.last_day.readings", "jobs.recovery.silent_totals._weighed"} <= today.keys()
    assert asked() == today


def test_another_setting_is_not_missed(settings: Any) -> None:
    before = current_figures._readings()
    assert current_figures._readings() is before

    settings.QUEUES = {}

    assert current_figures._readings() is not before
