"""The sizes of tables now, and how much they grow per day. No row is counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db import connection

from jobs.inspection import names
from jobs.inspection.contract import CONTRACTS
from opsconsole.kit.retention_models import TableSize

# Growth is measured against the oldest sample of the last two weeks: a week has quiet days.
GROWTH_DAYS = 14
# A partitioned table has the size of its parts. An estimate of -1 means that nothing was analysed yet.
_SIZES = """
WITH wanted AS (SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name),
     part AS (SELECT name, oid FROM wanted WHERE oid IS NOT NULL
              UNION SELECT name, tree.relid::oid FROM wanted CROSS JOIN pg_partition_tree(oid::regclass) AS tree)
SELECT name, sum(pg_total_relation_size(part.oid))::bigint AS bytes, sum(pg_indexes_size(part.oid))::bigint,
       CASE WHEN min(reltuples) FILTER (WHERE relkind = 'r') >= 0 THEN (sum(reltuples) FILTER (WHERE relkind = 'r'))::bigint END
  FROM part JOIN pg_class ON pg_class.oid = part.oid
 GROUP BY name ORDER BY 2 DESC, name
"""
_SAMPLE = """
INSERT INTO table_sizes (day, "table", bytes, index_bytes, rows)
SELECT (statement_timestamp() AT TIME ZONE 'UTC')::date, * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
ON CONFLICT ("table", day) DO NOTHING
"""
_GROWTH = f"""
WITH today AS ({_SIZES}),
     earlier AS (SELECT DISTINCT ON ("table") "table", bytes, (statement_timestamp() AT TIME ZONE 'UTC')::date - day AS days
                   FROM table_sizes
                  WHERE day BETWEEN (statement_timestamp() AT TIME ZONE 'UTC')::date - %s
                                AND (statement_timestamp() AT TIME ZONE 'UTC')::date - 1
                  ORDER BY "table", day)
SELECT today.*, round((today.bytes - earlier.bytes)::numeric / earlier.days)::bigint
  FROM today LEFT JOIN earlier ON earlier."table" = today.name
 ORDER BY today.bytes DESC, today.name
"""  # noqa: S608 - a constant above


@dataclass(frozen=True)
class Size:
    """A table with its indexes. ``growth`` is bytes per day, None until there is a sample of an earlier day."""

    table: str
    bytes: int
    index_bytes: int
    rows: int | None
    growth: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "bytes": self.bytes,
            "index_bytes": self.index_bytes,
            "rows_estimated": self.rows,
            "bytes_per_day": self.growth,
        }


def read() -> list[Size]:
    """Return the sizes of the console's tables and of the contract tables, largest first."""
    with connection.cursor() as cursor:
        cursor.execute(_GROWTH, [_tables(), GROWTH_DAYS])
        return [Size(*row) for row in cursor.fetchall()]


def sample() -> None:
    """Keep the sizes of today, once."""
    if TableSize.objects.filter(day=_today()).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute(_SIZES, [_tables()])
        columns = list(zip(*cursor.fetchall(), strict=True))
        cursor.execute(_SAMPLE, [list(column) for column in columns])


def _today() -> date:
    with connection.cursor() as cursor:
        cursor.execute("SELECT (statement_timestamp() AT TIME ZONE 'UTC')::date")
        today: date = cursor.fetchone()[0]
        return today


def _tables() -> list[str]:
    return sorted({*names.own_tables(), *(contract.sql for contract in CONTRACTS)})
