"""The settings that sessions of the console need, as defaults of its role in its database.

A pooler in transaction mode gives each transaction another session: what a session sets for itself is lost, or left to
somebody else, and most poolers refuse or drop the start parameter ``options``. Defaults of the role hold everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db import connection
from psycopg import sql

from opsconsole.kit import own_schema

_ASKED = re.compile(r"-c\s*([a-z_.]+)=((?:\\.|\S)+)")


@dataclass(frozen=True)
class Default:
    """A setting. It fits from 1 to ``most``, or from ``least``, in its own unit; without either only the value itself fits.

    ``network``: it only concerns a server process whose client is on another host.
    """

    name: str
    value: str
    why: str
    most: int | None = None
    least: int | None = None
    network: bool = False

    def fits(self, current: str) -> bool:
        if self.most is not None:
            return current.isdecimal() and 1 <= int(current) <= self.most
        if self.least is not None and current.isdecimal() and int(current) >= self.least:
            return True
        return _plain(current) == _plain(self.value)


DEFAULTS = (
    Default(
        "default_transaction_isolation",
        "read committed",
        "a statement sees what was committed before it, such as a heartbeat",
    ),
    Default("lock_timeout", "10s", "no statement waits long for a lock", 60_000),
    Default(
        "idle_in_transaction_session_timeout",
        "60s",
        "a host that loses its power or network inside a transaction gives its rows back",
        300_000,
    ),
    Default(
        "idle_session_timeout",
        "0",
        "sessions stay open between requests, heartbeats and answers of SQS",
        least=300_000,
    ),
    Default("statement_timeout", "0", "sweeps and retention may take longer than a page", least=15_000),
    Default("transaction_timeout", "0", "dropping a month of the timeline may take hours"),
    Default("jit", "off", "compiling a short statement takes longer than running it"),
    Default("array_nulls", "on", "a missing value within a list is no text that reads NULL"),
    Default("tcp_keepalives_idle", "30", "the server notices clients that vanished", 60, network=True),
    Default("tcp_keepalives_interval", "10", "the server notices clients that vanished", 30, network=True),
    Default("tcp_keepalives_count", "3", "the server notices clients that vanished", 10, network=True),
)


@dataclass(frozen=True)
class Difference:
    """A setting of this connection that does not fit."""

    wanted: Default
    current: str

    @property
    def sentence(self) -> str:
        return f"{self.wanted.name} is {self.current or 'empty'}, not {self.wanted.value}: {self.wanted.why}"


def wanted() -> list[Default]:
    """Return the defaults, and what the URL of the database asks for with ``options=-c name=value``."""
    options = str(connection.settings_dict["OPTIONS"].get("options", ""))
    asked = {name: value.replace("\\", "") for name, value in _ASKED.findall(options)}
    kept = [default for default in DEFAULTS if default.name not in asked]
    return kept + [Default(name, value, "DATABASE_URL asks for it") for name, value in asked.items()]


def differences() -> list[Difference]:
    """Read the settings back through the connection that pages use; return those that do not fit."""
    with connection.cursor() as cursor:
        cursor.execute(
            # A transaction may have set these for itself.
            "SELECT name, CASE WHEN name IN ('search_path', 'statement_timeout') THEN reset_val ELSE setting END"
            "  FROM pg_settings WHERE name = ANY (%s)",
            [[each.name for each in wanted()]],
        )
        current = dict(cursor.fetchall())
        cursor.execute("SELECT inet_client_addr() IS NOT NULL")
        network = cursor.fetchone()[0]
    return [
        Difference(default, current[default.name])
        for default in wanted()
        if default.name in current
        and (network or not default.network)
        and not default.fits(current[default.name])
    ]


def missing_search_path() -> list[Difference]:
    """Return the search path as a difference if it is not a default of the role in this database.

    The console needs no such default: without it, each transaction says where its tables are. People and programs that use
    the same role do.
    """
    if "search_path" in {each.name for each in wanted()}:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT reset_val, current_user FROM pg_settings WHERE name = 'search_path'")
        current, user = cursor.fetchone()
    value = own_schema.search_path(current, user)
    found = Difference(
        Default("search_path", value, "the console's tables are in a schema of their own"), current
    )
    return [] if value == current else [found]


def is_given(name: str, value: str) -> bool:
    """Tell whether a default of a role is one that ``migrate`` gives."""
    if name == "search_path":
        return own_schema.search_path(value, "") == value
    return any(each.name == name and _plain(each.value) == _plain(value) for each in (*DEFAULTS, *wanted()))


def statements(to_set: list[Difference]) -> list[str]:
    """Return the SQL that gives the role of this connection the defaults, for its database only.

    They take effect when a role logs in, which may be another one than that of its statements (``ALTER ROLE ... SET role``).
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user, current_database()")
        role, database = (sql.Identifier(name) for name in cursor.fetchone())
        return [
            sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}")
            .format(role, database, sql.SQL(each.wanted.name), _literal(each.wanted))
            .as_string(cursor.connection)
            for each in to_set
        ]


def advice(found: list[Difference]) -> list[str]:
    """Return what to do about each difference."""
    pooler = "then let a pooler open new connections (pgbouncer: RECONNECT)."
    return [f"Run migrate, or: {statement}; {pooler}" for statement in statements(found)]


def _literal(default: Default) -> sql.Composable:
    if default.name == "search_path":
        return own_schema.identifiers(default.value)
    return sql.Literal(default.value)


def _plain(value: str) -> str:
    """Return a value without the blanks and quotes that don't matter in a list of names."""
    return ",".join(part.strip().strip('"') for part in value.split(","))
