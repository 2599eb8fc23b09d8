"""Tables that another transaction has locked against everybody, as ALTER TABLE and LOCK TABLE do: nobody can read them meanwhile."""

from __future__ import annotations

from datetime import timedelta

from django.db import Error, connection, transaction

from opsconsole.kit.durations import spell
from opsconsole.kit.mapping import literal
from opsconsole.kit.storable import plain_text

LONGEST_QUERY = 80
# The text of a query is NULL where the console's role may not read it. No session belongs to a prepared transaction, which
# keeps the virtual id that it had: it is known by the id that it has locked.
_LOCKED = """
SELECT format('%I.%I', nspname, relname), l.pid, coalesce(usename::text, owner::text, ''),
       extract(epoch FROM statement_timestamp() - coalesce(xact_start, prepared))::float8, coalesce(query, ''), coalesce(gid, '')
  FROM pg_locks AS l
  JOIN pg_class AS c ON c.oid = l.relation
  JOIN pg_namespace AS n ON n.oid = relnamespace
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
  LEFT JOIN (pg_prepared_xacts AS p JOIN pg_locks AS own ON own.transactionid = p.transaction AND own.pid IS NULL)
    ON l.pid IS NULL AND own.virtualtransaction = l.virtualtransaction
 WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND relkind IN ('r', 'p', 'v', 'm') AND nspname !~ '^pg_'
 ORDER BY coalesce(xact_start, prepared), 1
 LIMIT 5
"""


def sentences() -> list[str]:
    """Return a sentence for each table, with who has locked it and how to end that; none where nobody has."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCKED)
        return [_sentence(*row) for row in cursor.fetchall()]


def summary() -> str:
    """Return the same as one text without the statements of others, which may hold what not everybody may read.

    Where nothing can be asked, as in a transaction that has failed, it is empty.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_LOCKED)
            return " ".join(
                _sentence(table, pid, role, seconds, "", prepared_as)
                for table, pid, role, seconds, _, prepared_as in cursor.fetchall()
            )
    except Error:
        return ""


def _sentence(
    table: str, pid: int | None, role: str, seconds: float | None, query: str, prepared_as: str
) -> str:
    age = f", for {spell(timedelta(seconds=seconds))}" if seconds is not None else ""
    doing = " ".join(plain_text(query).split())[:LONGEST_QUERY]
    last = f" Its last statement: {doing}" if doing else ""
    if pid is None:
        who, ending = f"The prepared transaction '{prepared_as}'", f"ROLLBACK PREPARED {literal(prepared_as)}"
    else:
        who, ending = f"Session {pid}", f"SELECT pg_terminate_backend({pid})"
    return (
        f"{who}{f' of role {role}' if role else ''} has locked {table} against everybody{age}. "
        f"{ending}; ends it.{last}"
    )
