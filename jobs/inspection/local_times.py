"""Columns without a zone whose default writes the local time of the database: read as UTC, they are hours off."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from opsconsole.kit.mapping import WITHOUT_ZONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.inspection.catalog import Table as Present
    from opsconsole.kit.mapping import Table

_NOW = re.compile(
    r"\(*(now\(\)|(statement|transaction|clock)_timestamp\(\)|(CURRENT_TIMESTAMP|LOCALTIMESTAMP)(\(\d\))?)\)*(::timestamp.*)?",
    re.IGNORECASE,
)
_UTC = {"utc", "uct", "gmt", "zulu", "universal", "greenwich"}


def database_zone() -> str:
    """Return the zone in which sessions of this database begin, such as Europe/Berlin; '' where that is UTC."""
    zone = str(catalog.value("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'"))
    if zone.lower().removeprefix("etc/") in _UTC:
        return ""
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        return ""
    return zone


def is_local(default: str | None) -> bool:
    """Tell whether a default of a column without a zone is the time as the clock on the wall shows it."""
    return bool(_NOW.fullmatch(default or ""))


def inspect(of: Table, present: Present) -> Iterator[Finding]:
    """Find the columns that the mapping reads in another zone than that in which their default writes."""
    zone = database_zone()
    if not zone:
        return
    for name, time in of.times.items():
        column = present.columns.get(of.column(name))
        if (
            column is not None
            and time.kind == WITHOUT_ZONE
            and time.zone != zone
            and is_local(column.default)
        ):
            yield Finding(
                id="time-zone",
                severity=Severity.WARNING,
                subject=f"{of.contract}.{column.name}",
                found=f"its default is {column.default}, which is the time in {zone} here, and the mapping reads it in {time.zone}: "
                "a run may seem hours older or younger than it is",
                wanted="the zone in which your programs write",
                action=f'If they leave it to the default: {name} = "{WITHOUT_ZONE}:{zone}" under [{of.contract}.times].',
            )
