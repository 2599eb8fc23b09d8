"""The snapshot of a database: its catalogue, and a few rows of each table that may be a queue or hold heartbeats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from math import inf
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple

from django.db import transaction

from jobs.inspection import catalog, local_times, names
from jobs.inspection.proposal import synonyms
from jobs.inspection.proposal.queue_table import status_columns
from jobs.inspection.proposal.snapshot import ColumnFacts, TableFacts
from jobs.inspection.proposal.times import UTC, ZONELESS
from opsconsole.kit import mapping, own_schema
from opsconsole.kit.mapping import OWN_COLUMNS

Sample = list[dict[str, str | None]]
MOST_COLUMNS = 20_000
MOST_SAMPLED_TABLES = 40
ROWS_OF_EACH_END = 150
MOST_SAMPLED_COLUMNS = 60
LONGEST_VALUE = 200
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
# In a CHECK with one of these, words are excluded, or are patterns.
_NO_LIST = re.compile(r"<>|!=|~")
_COLUMNS = """
SELECT n.nspname, c.relname, c.relkind::text, pg_table_is_visible(c.oid), greatest(c.reltuples, 0)::bigint, a.attname,
       CASE WHEN base.typtype = 'e' AND t.typtype = 'd' THEN 'domain over an enum'
            WHEN base.typtype = 'e' THEN 'enum' ELSE btrim(format_type(base.oid, NULL), '"') END,
       a.attgenerated <> '',
       (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = base.oid),
       (SELECT string_agg(pg_get_expr(k.conbin, k.conrelid), ' ') FROM pg_constraint k
         WHERE k.contype = 'c' AND k.conrelid = c.oid AND k.conkey = ARRAY[a.attnum]),
       (SELECT string_agg(pg_get_constraintdef(k.oid), ' ') FROM pg_constraint k WHERE k.contypid = t.oid AND t.typtype = 'd'),
       (SELECT ARRAY[quote_ident(fn.nspname) || '.' || quote_ident(f.relname), quote_ident(fa.attname),
                     '"' || replace(fn.nspname, '"', '""') || '"."' || replace(f.relname, '"', '""') || '"']
          FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
          JOIN pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = k.confkey[1]
         WHERE k.contype = 'f' AND k.conrelid = c.oid AND k.conkey = ARRAY[a.attnum] LIMIT 1),
       (SELECT array_position(i.indkey::int2[], a.attnum) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary),
       a.attnotnull AND EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
                                   AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
       coalesce((SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum),
                t.typdefault),
       CASE WHEN has_table_privilege(c.oid, 'SELECT') THEN row_security_active(c.oid) ELSE false END
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid
  JOIN pg_type base ON base.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
   AND n.nspname NOT IN ('information_schema', %s) AND n.nspname NOT LIKE 'pg\\_%%'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname, a.attnum LIMIT %s
"""


class _ListedColumn(NamedTuple):
    """A row of ``_COLUMNS``: a column, beside what is known of its table.

    ``lookup``: the table and column that a foreign key names, and the table as the proposal writes it.
    """

    schema: str
    name: str
    kind: str
    on_path: bool
    estimate: int
    column: str
    type: str
    generated: bool
    labels: list[str] | None
    check: str | None
    domain_check: str | None
    lookup: list[str] | None
    place_in_key: int | None
    unique: bool
    default: str | None
    hidden: bool

    @property
    def table(self) -> tuple[str, str]:
        return self.schema, self.name


@dataclass(frozen=True)
class Found:
    """The tables of a database. ``unread``: those of which no row was sampled, because the time was over.

    ``read_at``: when, by the database's clock.
    """

    tables: list[TableFacts]
    read_at: datetime
    unread: tuple[str, ...] = ()


def read(*, seconds: float = inf, attached: bool | None = None) -> Found:
    """Return all tables but those of the system and of the console, in one read-only transaction.

    ``seconds``: how long rows are sampled. One query, which takes two seconds at most, may end after that.
    ``attached``: whether the console is, if the caller knows.
    """
    with transaction.atomic():
        [(_, read_at)] = catalog.rows(
            "SELECT set_config('transaction_read_only', 'on', true), statement_timestamp()"
        )
        unread: list[str] = []
        attached = names.is_attached() if attached is None else attached
        return Found(_tables(monotonic() + seconds, unread, attached=attached), read_at, tuple(unread))


def snapshot() -> list[TableFacts]:
    """Return the same tables in the transaction of the caller."""
    return _tables(inf, [], attached=names.is_attached())


def _tables(ends: float, unread: list[str], *, attached: bool) -> list[TableFacts]:
    added, zone = _added() if attached else {}, local_times.database_zone()
    listed = map(_ListedColumn._make, catalog.rows(_COLUMNS, [own_schema.name(), MOST_COLUMNS]))
    theirs = (each for each in listed if each.column not in added.get(each.table, ()))
    tables = [_table(list(columns), zone) for _, columns in groupby(theirs, lambda each: each.table)]
    return list(_with_samples(tables, ends, unread))


def _table(columns: Sequence[_ListedColumn], zone: str) -> TableFacts:
    one = columns[0]
    in_key = sorted((each.place_in_key, each.column) for each in columns if each.place_in_key is not None)
    return TableFacts(
        one.name,
        MappingProxyType({each.column: _column(each, zone) for each in columns}),
        one.schema,
        tuple(column for _, column in in_key),
        one.kind,
        one.on_path,
        one.estimate,
        unique=tuple(each.column for each in columns if each.unique),
        hidden=one.hidden,
    )


def _column(listed: _ListedColumn, zone: str) -> ColumnFacts:
    accepted, source = _words(listed.column, listed.type, listed.labels, listed.check, listed.domain_check)
    if listed.lookup and not accepted and synonyms.spelled(listed.column) in synonyms.STATUS:
        table, word, _ = listed.lookup
        found = catalog.look(f"SELECT {word}::text FROM {table} LIMIT 100") or []
        accepted, source = tuple(word for (word,) in found if word is not None), "lookup"
    return ColumnFacts(
        listed.column,
        listed.type,
        listed.generated,
        accepted,
        source,
        listed.lookup[2] if listed.lookup else "",
        _initial(listed.default),
        _zone_written(listed.default, zone) if listed.type == ZONELESS else "",
    )


def _initial(default: str | None) -> str:
    """Return the word that a default is, such as 'queued'::text; '' where it is none."""
    found = _LITERAL.match(default or "")
    return found[1].replace("''", "'") if found else ""


def _zone_written(default: str | None, zone: str) -> str:
    """Return the zone in which a default writes, or UTC where it is another expression; '' without a default."""
    if not default or not zone:
        return ""
    return zone if local_times.is_local(default) else UTC


def _added() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the columns that an attached console has added itself: they say nothing about the tables of others."""
    contracts = {table.sql: table.contract for table in mapping.current().tables}
    found = catalog.rows(
        "SELECT nspname, relname, name FROM unnest(%s::text[]) AS name JOIN pg_class c ON c.oid = to_regclass(name)"
        "  JOIN pg_namespace n ON n.oid = relnamespace",
        [list(contracts)],
    )
    return {(schema, name): OWN_COLUMNS[contracts[sql]] for schema, name, sql in found}


def _words(
    column: str, type_: str, labels: list[str] | None, check: str | None, domain: str | None
) -> tuple[tuple[str, ...], str]:
    """Return the words that a column accepts, and what says so."""
    if labels:
        return tuple(labels), "enum"
    if synonyms.spelled(column) in synonyms.STATUS and (check or domain):
        listing = [each for each in (check, domain) if each and not _NO_LIST.search(_LITERAL.sub("", each))]
        found = [word.replace("''", "'") for each in listing for word in _LITERAL.findall(each)]
        return tuple(dict.fromkeys(found)), "check" if found else ""
    return (), ""


def _with_samples(tables: Sequence[TableFacts], ends: float, unread: list[str]) -> Iterable[TableFacts]:
    chosen = [table for table in tables if status_columns(table) or synonyms.find(table, synonyms.BEAT)]
    chosen = chosen[:MOST_SAMPLED_TABLES]
    samples = (_together(chosen) if monotonic() < ends else None) or {}
    for table in tables:
        if table in chosen:
            sample = samples[table.sql] if samples else _alone(table, ends, unread)
            yield replace(table, sample=tuple(MappingProxyType(row) for row in sample))
        else:
            yield table


def _together(tables: Sequence[TableFacts]) -> dict[str, Sample] | None:
    """Return rows of each table, by one query; None where the database refuses one of them, or that takes too long."""
    parts = [(table, part) for table in tables for part in _parts(table)]
    if not parts:
        return None
    found = catalog.look(
        f"SELECT {', '.join(f'({part.sql})' for _, part in parts)}",
        [value for _, part in parts for value in part.parameters],
    )
    if found is None:
        return None
    samples: dict[str, Sample] = {table.sql: [] for table in tables}
    for (table, part), rows in zip(parts, found[0], strict=True):
        samples[table.sql] += part.rows(rows)
    return samples


def _alone(table: TableFacts, ends: float, unread: list[str]) -> Sample:
    """Return rows of a table, as far as the database gives them, unless the time is over."""
    if monotonic() >= ends:
        unread.append(table.sql)
        return []
    found = ((part, catalog.look(part.sql, part.parameters)) for part in _parts(table))
    return [row for part, rows in found if rows for row in part.rows(rows[0][0])]


@dataclass(frozen=True)
class _Part:
    """A query of some rows of a table, as an array of arrays of these columns."""

    sql: str
    columns: Sequence[str]
    parameters: tuple[Any, ...] = ()

    def rows(self, found: Sequence[Sequence[str | None]] | None) -> Sample:
        return [dict(zip(self.columns, row, strict=True)) for row in found or ()]


def _parts(table: TableFacts) -> Iterator[_Part]:
    """Yield queries of both ends of the key, because jobs that run are usually new ones, and of the common statuses.

    Nothing is counted or sorted without an index. The statuses are those of the statistics, each as a row that has nothing else.
    """
    names = list(table.columns)[:MOST_SAMPLED_COLUMNS]
    shown = ", ".join(f"left({own_schema.quoted(name)}::text, {LONGEST_VALUE})" for name in names)
    ends = [""]
    if table.key and table.kind in "rp":
        newest = ", ".join(f"{own_schema.quoted(name)} DESC" for name in table.key)
        ends.insert(0, f" ORDER BY {newest}")
    for end in ends:
        rows = f"SELECT json_build_array({shown}) AS row FROM {table.sql}{end} LIMIT {ROWS_OF_EACH_END}"
        yield _Part(f"SELECT json_agg(row) FROM ({rows}) AS sample", names)
    for status in status_columns(table):
        yield _Part(
            "SELECT json_agg(json_build_array(left(word, %s))) FROM pg_stats,"
            " unnest(most_common_vals::text::text[]) AS word"
            " WHERE schemaname = %s AND tablename = %s AND attname = %s",
            [status.name],
            (LONGEST_VALUE, table.schema, table.name, status.name),
        )
