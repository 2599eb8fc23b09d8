"""What an earlier version added to contract tables, worked out from the catalogue: it kept no record of it.

Only what can hardly be anybody else's counts: a column with the name, type and default of the console's, which stands
behind all columns of the contract, because the console added its own to a table that had those. Anything else stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection, transaction

from jobs.inspection import catalog, names
from jobs.inspection.contract import CONTRACTS, Contract, WantedColumn
from opsconsole import database_roles
from opsconsole.kit import attachment, own_schema
from opsconsole.kit.attachment import Kind, Record

_COLUMNS = """
SELECT attname::text, attnum, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
_INDEXES = """
SELECT relname::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
 WHERE indrelid = to_regclass(%s) AND starts_with(relname, 'opsconsole_') ORDER BY 1
"""
_ROUTINES = """
SELECT quote_ident(nspname) || '.' || quote_ident(proname) || '(' || oidvectortypes(proargtypes) || ')'
  FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE pg_proc.oid = to_regprocedure(%s)
"""


def complete(runtime_role: str) -> None:
    """Write the record for a console of an earlier version, which has none."""
    if names.is_attached() and not attachment.exists(connection):
        with transaction.atomic():
            for record in derived(runtime_role):
                attachment.note(connection, record.kind, record.name, record.content)


def records(runtime_role: str) -> list[Record]:
    """Return the record, or what it would be for a console of an earlier version; nothing where there is no console."""
    if attachment.exists(connection) or not names.is_attached():
        return attachment.read(connection)
    return list(derived(runtime_role))


def derived(runtime_role: str) -> Iterator[Record]:
    yield Record(Kind.DERIVED, "all", {})
    place = names.history_place()
    if place == own_schema.name() and place != own_schema.PUBLIC:
        yield Record(Kind.SCHEMA, own_schema.quoted(place), {})
    for contract in CONTRACTS:
        if table := attachment.relation(connection, contract.sql):
            yield from _added(contract, table)
    for _, _, name, types in names.FUNCTIONS:
        for (routine,) in catalog.rows(_ROUTINES, [f"{name}({types})"]):
            yield Record(Kind.FUNCTION, routine, {"theirs": None})
    yield from _given(runtime_role)


def _added(contract: Contract, table: str) -> Iterator[Record]:
    present = {name: rest for name, *rest in catalog.rows(_COLUMNS, [table])}
    theirs = [
        present[contract.actual(each)][0]
        for each in contract.columns
        if not each.ours and contract.actual(each) in present
    ]
    for wanted in contract.columns:
        if wanted.ours and wanted.name in present:
            number, *shape = present[wanted.name]
            if number > max(theirs, default=0) and _is_ours(wanted, *shape):
                yield Record(Kind.COLUMN, f"{table}.{wanted.name}", {"table": table, "column": wanted.name})
    for (index,) in catalog.rows(_INDEXES, [table]):
        yield Record(Kind.INDEX, f"{table}.{index}", {"table": table, "index": index})


def _is_ours(wanted: WantedColumn, kind: str, is_required: bool, default: str | None) -> bool:  # noqa: FBT001 - a row
    plain = (default or "").partition("::")[0]
    return (kind, is_required, plain) == (wanted.types[0], wanted.null is False, wanted.default)


def _given(runtime_role: str) -> Iterator[Record]:
    """Yield that a role of the console's own had nothing before. One that also owns the tables needs no privilege."""
    if catalog.value("SELECT current_user") != runtime_role:
        for kind, name in database_roles.held_privileges(runtime_role):
            content = {"role": runtime_role, "kind": kind, "object": name, "before": []}
            yield Record(Kind.PRIVILEGES, f"{runtime_role} on {kind} {name}", content)
    # A path that begins with public says nothing about who gave it.
    kept = {"search_path"} if own_schema.name() == own_schema.PUBLIC else set()
    settings = database_roles.session_settings(runtime_role).items()
    yield Record(
        Kind.SETTINGS, runtime_role, {"before": {name: value for name, value in settings if name in kept}}
    )
