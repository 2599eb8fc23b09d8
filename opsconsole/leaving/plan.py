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
SELECT attname::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p')
 WHERE attrelid = to_regclass(%s) AND attname = ANY (%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# Its owner may have renamed or moved the table since. The console's indexes went along, under their own names.
_PRESENT_INDEX = """
SELECT format('%%I.%%I', ni.nspname, i.relname), format('%%I.%%I', nt.nspname, t.relname), i.relkind = 'I',
       t.oid IS NOT DISTINCT FROM to_regclass(%s)
  FROM pg_index
  JOIN pg_class AS i ON i.oid = indexrelid JOIN pg_namespace AS ni ON ni.oid = i.relnamespace
  JOIN pg_class AS t ON t.oid = indrelid JOIN pg_namespace AS nt ON nt.oid = t.relnamespace
 WHERE i.relname = %s ORDER BY 2
"""


@dataclass(frozen=True)
class Index:
    """An index of the console on a contract table; ``name`` is quoted, with its schema. ``recorded_for``: the table's name then."""

    name: str
    table: str
    is_partitioned: bool
    recorded_for: str


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
    return {
        place: present
        for table, columns in wanted.items()
        for place, present in _places(records, table, columns)
        if present
    }


def _places(records: list[Record], table: str, columns: list[str]) -> list[tuple[str, list[str]]]:
    """Return the tables that have these columns, with those that they have: that of this name, or where its indexes are now."""
    present = _present(table, columns)
    if present:
        return [(table, present)]
    moved = {index.table for index in _indexes(records, []) if index.recorded_for == table}
    return [(place, _present(place, columns)) for place in sorted(moved)]


def _present(table: str, columns: list[str]) -> list[str]:
    return [name for (name,) in catalog.rows(_PRESENT_COLUMNS, [table, columns])]


def _indexes(records: list[Record], dropped: list[str]) -> list[Index]:
    return [
        index
        for record in _of(records, Kind.INDEX)
        if record.content["table"] not in dropped
        for index in _present_index(record.content["table"], record.content["index"])
    ]


def _present_index(table: str, name: str) -> list[Index]:
    """Return the index of this name on the table; where there is none, those of this name on others."""
    rows = catalog.rows(_PRESENT_INDEX, [table, name])
    there = [row for row in rows if row[3]] or rows
    return [Index(index, place, is_partitioned, table) for index, place, is_partitioned, _ in there]


def _privileges(records: list[Record], going: set[str]) -> list[str]:
    """Return the statements that revoke what roles have now, had not before, and get from the console."""
    statements = []
    moved = {index.recorded_for: index.table for index in _indexes(records, [])}
    for record in _of(records, Kind.PRIVILEGES):
        role, kind, name = (record.content[key] for key in ("role", "kind", "object"))
        held = database_roles.held_privileges(role, moved.values())
        places = moved | _moved_sequences(records, role, held)
        for place in dict.fromkeys([name, places.get(name, name)]):
            now = set(held.get((kind, place), []))
            more = sorted(now & database_roles.contract_privileges() - set(record.content["before"]))
            if more and place not in going:
                statements.append(
                    f"REVOKE {', '.join(more)} ON {kind} {place} FROM {own_schema.quoted(role)}"
                )
    return statements


def _moved_sequences(
    records: list[Record], role: str, held: dict[tuple[str, str], list[str]]
) -> dict[str, str]:
    """Return where the recorded sequences are now that have another name: they go along with their tables."""
    recorded = {
        record.content["object"]
        for record in _of(records, Kind.PRIVILEGES)
        if (record.content["role"], record.content["kind"]) == (role, "SEQUENCE")
    }
    present = {name for kind, name in held if kind == "SEQUENCE"}
    gone, new = recorded - present, present - recorded
    found = {old: name for old in gone for name in new if _bare(old) == _bare(name)}
    unmatched = (gone - found.keys(), new - set(found.values()))
    if [len(each) for each in unmatched] == [1, 1]:
        [[old], [name]] = unmatched
        found[old] = name
    return found


def _bare(name: str) -> str:
    """Return a quoted name without its schema."""
    return name.rpartition('."')[2] if name.endswith('"') else name.rpartition(".")[2]


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
