"""The values of forms as texts: one to read, and one to compare. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import singledispatch
from typing import Any

from django.db.models import Model, QuerySet

from opsconsole.kit.durations import spell


def shown(raw: Any) -> str:
    """Return a value as the audit and the conflict page show it."""
    match raw:
        case bool():
            text = "yes" if raw else "no"
        case datetime():
            text = f"{raw.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        case timedelta():
            text = spell(raw)
        case float():
            text = f"{raw:g}"
        case list() | tuple() | set() | QuerySet():
            text = ", ".join(sorted(map(name_of, raw)) if _are_rows(raw) else map(str, raw))
        case _:
            text = "" if raw is None else str(raw)
    return text or "none"


@singledispatch
def name_of(row: object) -> str:
    """Return how a related row is called; models of others register names that people understand."""
    return str(row)


def canonical(raw: Any) -> str:
    """Return a text that is equal for equal values only."""
    if isinstance(raw, QuerySet | list | tuple | set):
        each = [str(item.pk) if isinstance(item, Model) else canonical(item) for item in raw]
        return json.dumps(sorted(each) if _are_rows(raw) else each)
    return f"{type(raw).__name__} {raw.isoformat() if isinstance(raw, datetime) else raw}"


def _are_rows(raw: Iterable[Any]) -> bool:
    """Tell whether this is a set of related rows, whose order means nothing."""
    return isinstance(raw, QuerySet | set) or any(isinstance(item, Model) for item in raw)
