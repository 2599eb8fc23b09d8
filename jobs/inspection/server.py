"""The server and the connection to it: version, replica, pooler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DatabaseError, connection, transaction

from jobs.inspection import catalog
from jobs.inspection.finding import Finding, Severity
from jobs.watch import old_transactions
from opsconsole.kit import schema_version, session_defaults
from opsconsole.kit.database_troubles import Trouble, trouble_behind
from opsconsole.kit.errors import first_line
from opsconsole_worker.database import unchecked_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_VERSION = 130_000
TRANSACTION_POOLER_PORT = 6543
TRANSACTIONS = 5


def inspect() -> Iterator[Finding]:
    yield from _version()
    yield from _encoding()
    yield from _writable()
    yield from _pooler()
    yield from _sessions()


def refused_transactions() -> Finding | None:
    """Return a finding where a pooler refuses transactions: nothing else can be asked there, and nothing changed."""
    try:
        with transaction.atomic():
            catalog.value("SELECT 1")
    except DatabaseError as error:
        if trouble_behind(error) is not Trouble.NO_TRANSACTIONS:
            raise
        return Finding(
            id="statement-pooler",
            severity=Severity.BLOCKER,
            subject="DATABASE_URL",
            found=f"the pooler in front of the server refuses transactions: {first_line(error)}",
            wanted="a pooler in transaction or session mode, or the server itself",
            action="Set pool_mode = transaction (or session) for this database in the pgbouncer.ini, and tell pgbouncer: RELOAD.",
        )
    return None


def _version() -> Iterator[Finding]:
    version = catalog.value("SHOW server_version")
    old = connection.cursor().connection.info.server_version < OLDEST_VERSION
    yield Finding(
        id="server-version",
        severity=Severity.BLOCKER if old else Severity.OK,
        subject="PostgreSQL",
        found=f"its version is {version}",
        wanted="13 or newer, which has gen_random_uuid()" if old else "",
        action="Upgrade the server." if old else "",
    )


def _encoding() -> Iterator[Finding]:
    encoding = str(catalog.value("SHOW server_encoding"))
    if encoding == "UTF8":
        return
    unchecked = encoding == unchecked_texts.ENCODING
    why = (
        "which takes texts in any encoding: what is not UTF-8 in them is shown as U+FFFD, and no message is sent for a job whose "
        "customer or priority can't be read"
        if unchecked
        else "which lacks characters that the console writes"
    )
    yield Finding(
        id="server-encoding",
        severity=Severity.WARNING if unchecked else Severity.BLOCKER,
        subject="PostgreSQL",
        found=f"the encoding of this database is {encoding}, {why}",
        wanted="UTF8",
        action="Create a database with the encoding UTF8, restore a dump of this one into it, and let all programs use that one.",
    )


def _writable() -> Iterator[Finding]:
    if catalog.value("SELECT pg_is_in_recovery()"):
        yield Finding(
            id="replica",
            severity=Severity.BLOCKER,
            subject="PostgreSQL",
            found="this server is a replica, which refuses writes",
            action="Set DATABASE_URL to the address of the primary.",
        )
    elif catalog.value("SELECT current_setting('default_transaction_read_only')") == "on":
        role, database = catalog.rows("SELECT quote_ident(session_user), quote_ident(current_database())")[0]
        yield Finding(
            id="read-only",
            severity=Severity.BLOCKER,
            subject="PostgreSQL",
            found="transactions are read-only by default for this role or database",
            action=f"ALTER ROLE {role} IN DATABASE {database} SET default_transaction_read_only = off;",
        )


def _pooler() -> Iterator[Finding]:
    signs = list(_signs_of_a_pooler())
    if signs:
        yield Finding(
            id="pooler",
            severity=Severity.WARNING,
            subject="DATABASE_URL",
            found=f"there seems to be a pooler in front of the server: {'; '.join(signs)}",
            wanted="a direct connection for migrate",
            action="A transaction pooler loses session settings such as lock_timeout, so migrate could block your writers. "
            "Set OPSCONSOLE_OWNER_DATABASE_URL to the address of the server itself (on Supabase port 5432 of the direct "
            "host), which only migrate uses. Everything else works through a pooler.",
        )


def _sessions() -> Iterator[Finding]:
    """Compare the settings of this session with those that migrate gives to the role; before it ran, only the isolation."""
    found = session_defaults.differences()
    if schema_version.is_behind():
        found = [each for each in found if each.wanted.name == "default_transaction_isolation"]
    for difference, statement in zip(found, session_defaults.statements(found), strict=True):
        yield Finding(
            id="session-settings",
            severity=Severity.WARNING,
            subject="session settings",
            found=difference.sentence,
            action=f"Run migrate, or: {statement}; A pooler passes it on with new connections (pgbouncer: RECONNECT).",
        )


def inspect_transactions() -> Iterator[Finding]:
    """Find what keeps dead rows of the tables from being removed. The role must be able to look into their schemas."""
    obstacle = old_transactions.present()
    if obstacle.holder is None or (obstacle.age is not None and obstacle.age < old_transactions.LONG_AGO):
        return
    unknown = obstacle.age is None
    yield Finding(
        id="old-transaction",
        severity=Severity.WARNING,
        subject="VACUUM",
        found=obstacle.sentence,
        wanted="a transaction that ends within minutes",
        action=f"{old_transactions.WHY_UNKNOWN} It ends by: {obstacle.holder.ending}"
        if unknown
        else obstacle.holder.ending,
    )


def _signs_of_a_pooler() -> Iterator[str]:
    with connection.cursor() as cursor:
        announced = cursor.connection.info.backend_pid
        port = cursor.connection.info.port
    serving = {catalog.value("SELECT pg_backend_pid()") for _ in range(TRANSACTIONS)}
    if len(serving) > 1:
        yield "one connection was served by several server processes"
    elif announced not in serving:
        yield f"the serving process ({serving.pop()}) is not the one announced ({announced})"
    if port == TRANSACTION_POOLER_PORT:
        yield f"port {port} is the usual port of transaction poolers"
