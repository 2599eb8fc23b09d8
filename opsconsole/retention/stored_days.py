"""For how many days the functions of the owner keep rows, whoever asks them: it stands in the comment of each."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

_STORED = """
SELECT substring(obj_description(to_regprocedure(%s), 'pg_proc') FROM '^opsconsole keeps ([0-9]{1,5}) days$')::integer
"""


def of(function: str, default: int) -> int:
    """Return the days of a function; ``default`` is what it takes where its owner has stored nothing."""
    with connection.cursor() as cursor:
        cursor.execute(_STORED, [function])
        stored: int | None = cursor.fetchone()[0]
        return default if stored is None else stored


def missing(function: str, setting: str, default: int) -> list[str]:
    """Return the statement that lets a function know its setting, if it does not; for the owner."""
    wanted = int(getattr(settings, f"OPSCONSOLE_KEEP_{setting}_DAYS"))
    if of(function, default) == wanted:
        return []
    return [f"COMMENT ON FUNCTION {function} IS 'opsconsole keeps {wanted} days'"]
