"""What an uninstall takes away and what it puts back, read from the record of the attachment and the catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db import connection

from jobs.inspection import catalog, names
from opsconsole import database_roles
from opsconsole.kit import attachment, own_schema, session_defaults
from opsconsole.kit.attachment import Kind, Record
from opsconsole.leaving import derivation, own_objects
from opsconsole.leaving.own_objects import OwnObjects

_PRESENT_COLUMNS = """
SELECT attname::text FROM pg_attribute
 WHERE attrelid = to_regclass(%s) AND attname = ANY (%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
_PRESENT_INDEX = """
SELECT quote_ident(nspname) || '.' || quote_ident(relname), relkind = 'I'
  FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
 WHERE indrelid = to_regclass(%s) AND relname = %s
"""


@dataclass(frozen=True)
class Index:
    """An index of the console on a contract table; ``name`` is quoted, with its schema."""

    name: str
    table: str
    is_partitioned: bool


@dataclass(frozen=True)
class Plan:
    """All names are quoted where they stand in statements. ``settings`` runs as the runtime role, the rest as the owner.

    ``dropped_tables``: contract tables that the console created; ``kept_tables``: those of them that stay, with their rows.
    ``functions``: routine -> whether it replaced one, which comes back.
    """

    is_derived: bool = False
    is_resumed: bool = False
    dropped_tables: list[str] = field(default_factory=list)
    kept_tables: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)
    indexes: list[Index] = field(default_factory=list)
    functions: dict[str, bool] = field(default_factory=dict)
    privileges: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    own: OwnObjects = field(default_factory=OwnObjects)


def find(runtime_role: str, *, drop_created: bool) -> Plan | None:
    """Return the plan, or None where the console has nothing in this database. Ask as the owner of the tables."""
    if not attachment.exists(connection) and not names.is_attached():
        return None
    records = derivation.records(runtime_role)
    there = [record for record in _of(records, Kind.TABLE) if _table_exists(record.name)]
    created = [record.name for record in there]
    dropped = [
        record.name for record in there if drop_created or record.content["own"] or _is_empty(record.name)
    ]
    kept = [table for table in created if table not in dropped]
    own = own_objects.find([record.name for record in _of(records, Kind.SCHEMA)])
    return Plan(
        is_derived=bool(_of(records, Kind.DERIVED)),
        is_resumed=bool(_of(records, Kind.LEAVING)),
        dropped_tables=dropped,
        kept_tables=kept,
        columns=_columns(records, created),
        indexes=_indexes(records, dropped),
        functions={record.name: bool(record.content["theirs"]) for record in _of(records, Kind.FUNCTION)},
        privileges=_privileges(records, {*dropped, *own.schemas}),
        settings=_settings(records),
        own=own,
    )


def left_privileges(runtime_role: str, plan: Plan) -> list[str]:
    """Return the statements of ``plan.privileges`` that are still to be run."""
    return _privileges(derivation.records(runtime_role), {*plan.dropped_tables, *plan.own.schemas})


def _of(records: list[Record], kind: Kind) -> list[Record]:
    return [record for record in records if record.kind == kind]


def _table_exists(table: str) -> bool:
    return bool(catalog.value("SELECT to_regclass(%s) IS NOT NULL", [table]))


def _is_empty(table: str) -> bool:
    return not catalog.rows(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - a quoted name from the catalogue


def _columns(records: list[Record], created: list[str]) -> dict[str, list[str]]:
    """Return the columns to drop per table. A table that the console created stays, or goes, with all of them."""
    wanted: dict[str, list[str]] = {}
    for record in _of(records, Kind.COLUMN):
        if record.content["table"] not in created:
            wanted.setdefault(record.content["table"], []).append(record.content["column"])
    found = {
        table: [name for (name,) in catalog.rows(_PRESENT_COLUMNS, [table, columns])]
        for table, columns in wanted.items()
    }
    return {table: columns for table, columns in found.items() if columns}


def _indexes(records: list[Record], dropped: list[str]) -> list[Index]:
    return [
        Index(name, record.content["table"], is_partitioned)
        for record in _of(records, Kind.INDEX)
        if record.content["table"] not in dropped
        for name, is_partitioned in catalog.rows(
            _PRESENT_INDEX, [record.content["table"], record.content["index"]]
        )
    ]


def _privileges(records: list[Record], going: set[str]) -> list[str]:
    """Return the statements that revoke what roles have now, had not before, and get from the console."""
    statements = []
    for record in _of(records, Kind.PRIVILEGES):
        role, kind, name = (record.content[key] for key in ("role", "kind", "object"))
        now = database_roles.held_privileges(role).get((kind, name), [])
        more = sorted(set(now) & database_roles.contract_privileges() - set(record.content["before"]))
        if more and name not in going:
            statements.append(f"REVOKE {', '.join(more)} ON {kind} {name} FROM {own_schema.quoted(role)}")
    return statements


def _settings(records: list[Record]) -> list[str]:
    """Return the statements that give roles back the session settings which they had."""
    database = own_schema.quoted(str(catalog.value("SELECT current_database()")))
    statements = []
    for record in _of(records, Kind.SETTINGS):
        before: dict[str, str] = record.content["before"]
        for name, value in database_roles.session_settings(record.name).items():
            if before.get(name) != value and session_defaults.is_given(name, value):
                again = (
                    f"RESET {name}" if name not in before else f"SET {name} = {_literal(name, before[name])}"
                )
                statements.append(
                    f"ALTER ROLE {own_schema.quoted(record.name)} IN DATABASE {database} {again}"
                )
    return statements


def _literal(name: str, value: str) -> str:
    if name == "search_path":
        with connection.cursor() as cursor:
            return own_schema.identifiers(value).as_string(cursor.connection)
    return str(catalog.value("SELECT quote_literal(%s)", [value]))
