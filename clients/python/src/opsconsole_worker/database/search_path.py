"""The search path that finds the console's own tables first, wherever the contract tables are.

Statements name tables without a schema: contract tables are found in whichever schema they are, and so are the tables of
a console that was installed before it had a schema of its own.
"""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\s",]+)')
SESSION_USER = "$user"
PUBLIC = "public"


def quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def names_in(path: str) -> list[str]:
    """Return the schemas that a search path names, as the catalogue spells them."""
    return [inside.replace('""', '"') if inside else plain.lower() for inside, plain in _NAME.findall(path)]


def with_first(schema: str, current: str, user: str) -> str:
    """Return the search path with this schema first, or the same text if it is first already."""
    names = names_in(current)
    # A schema with the name of the user rarely exists: it hides nothing from a console that lives in public.
    first = [each for each in names if each != SESSION_USER] if schema == PUBLIC else names
    if first and (first[0] == schema or (first[0] == SESSION_USER and user == schema)):
        return current
    return ", ".join(quoted(each) for each in [schema, *(each for each in names if each != schema)])


def serves_alone(session: Any) -> bool:
    """Tell whether one server process serves this connection for as long as it lasts, so that its session keeps settings and plans.

    A pooler announces a process of its own making.
    """
    return bool(session.execute("SELECT pg_backend_pid()").fetchone()[0] == session.info.backend_pid)


def for_transactions(session: Any, schema: str) -> str | None:
    """Return the search path that each transaction of this psycopg connection must set, or None if its sessions have it.

    A pooler may use another session for each transaction, and some of them may be older than a default of the role. It is
    recognized by the process that it announces, which is not the one that serves.
    """
    current, pooled = session.info.parameter_status("search_path"), False
    if current is None:  # Servers before PostgreSQL 18, and poolers, don't report it.
        [current] = session.execute("SELECT current_setting('search_path')").fetchone()
        pooled = not serves_alone(session)
    wanted = with_first(schema, current, session.info.user)
    return wanted if pooled or wanted != current else None
