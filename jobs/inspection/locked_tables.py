"""Tables that another session has locked against everybody, as ALTER TABLE and LOCK TABLE do: nobody can read them meanwhile."""

from __future__ import annotations

from datetime import timedelta

from django.db import connection

from opsconsole.kit.durations import spell
from opsconsole.kit.storable import plain_text

LONGEST_QUERY = 80
# The text of a query is NULL where the console's role may not read it.
_LOCKED = """
SELECT format('%I.%I', nspname, relname), l.pid, coalesce(usename::text, ''),
       extract(epoch FROM statement_timestamp() - xact_start)::float8, coalesce(query, '')
  FROM pg_locks AS l
  JOIN pg_class AS c ON c.oid = l.relation
  JOIN pg_namespace AS n ON n.oid = relnamespace
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND granted AND l.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND relkind IN ('r', 'p', 'v', 'm') AND nspname !~ '^pg_'
 ORDER BY xact_start, 1
 LIMIT 5
"""


def sentences() -> list[str]:
    """Return a sentence for each table, with who has locked it and how to end that; none where nobody has."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCKED)
        return [_sentence(*row) for row in cursor.fetchall()]


def _sentence(table: str, pid: int, role: str, seconds: float | None, query: str) -> str:
    age = f", for {spell(timedelta(seconds=seconds))}" if seconds is not None else ""
    doing = " ".join(plain_text(query).split())[:LONGEST_QUERY]
    last = f" Its last statement: {doing}" if doing else ""
    return (
        f"Session {pid}{f' of role {role}' if role else ''} has locked {table} against everybody{age}. "
        f"SELECT pg_terminate_backend({pid}); ends it.{last}"
    )
