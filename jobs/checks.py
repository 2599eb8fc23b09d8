"""System checks of the jobs app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error, Tags, register

from jobs.inspection import blockers, inspect_database

if TYPE_CHECKING:
    from collections.abc import Sequence


@register(Tags.database)
def attachable(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """``migrate`` refuses a database that the console does not fit, before it changes anything."""
    if not databases or "default" not in databases:
        return []
    return [
        Error(finding.sentence, hint=finding.action, id=f"jobs.{finding.id}")
        for finding in blockers(inspect_database())
    ]
