"""Row locks in statements: rows are locked FOR NO KEY UPDATE, and no statement waits for one for ever (I13).

A foreign key to a row takes FOR KEY SHARE on it, which only the strongest lock of a row refuses: with it, every open
transaction that inserted a child row would block the row.
"""

from __future__ import annotations

from datetime import timedelta

# How long a statement waits for a row that another transaction has locked.
WAIT = timedelta(seconds=3)
NO_KEY_UPDATE = "FOR NO KEY UPDATE"


def in_statement(of: str = "") -> str:
    """Return the clause of SQL that locks the rows it reads; the round trip limits the wait. ``of``: the alias of the table."""
    return f"{NO_KEY_UPDATE} OF {of}" if of else NO_KEY_UPDATE


def if_free_in_statement(of: str = "") -> str:
    """Return the clause that locks only those rows that nobody else has locked."""
    return f"{in_statement(of)} SKIP LOCKED"
