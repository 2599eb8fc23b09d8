"""The limits that the functions of the owner keep by themselves, as the settings want them."""

from __future__ import annotations

from opsconsole.retention import audit_lines, months, stored_days


def unstored_days() -> list[str]:
    """Return the statements that let the owner's functions know the settings; for the owner."""
    return [
        statement
        for each in (months, audit_lines)
        for statement in stored_days.missing(each.FUNCTION, each.SETTING, each.STORED_BY_DEFAULT)
    ]
