"""Times in statements that PostgreSQL can hold and can't calculate with: 'infinity' and '-infinity'."""

from __future__ import annotations

# Instead of 'infinity' in a handwritten statement that subtracts times, which PostgreSQL refuses for it.
FAR = "interval '1000 years'"


def finite_in_statement(time: str) -> str:
    """Return the SQL of a time with which PostgreSQL can calculate, in place of an infinite one."""
    return (
        f"(CASE WHEN {time} IS NULL OR isfinite({time}) THEN {time} WHEN {time} > statement_timestamp()"
        f" THEN statement_timestamp() + {FAR} ELSE statement_timestamp() - {FAR} END)"
    )
