"""The rows that migrations write, put back for a test that runs after another one emptied the tables.

Django runs tests that empty the tables last. Workers of pytest-xdist that take over each other's tests do not.
"""

from __future__ import annotations

from django.db import connection

# What Django writes after migrations is never emptied.
KEPT = {"django_content_type", "auth_permission"}
# Only tables with rows: name and rows as JSON.
_rows: dict[str, str] = {}
_database = ""
_emptied = False


def keep() -> None:
    """Read what the migrations wrote."""
    global _database  # noqa: PLW0603  # one database per process
    _database = connection.settings_dict["NAME"]
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    with connection.cursor() as cursor:
        for name in sorted(set(names) - KEPT):
            quoted = connection.ops.quote_name(name)
            cursor.execute(f"SELECT json_agg(row)::text FROM {quoted} AS row")
            if rows := cursor.fetchone()[0]:
                _rows[quoted] = rows


def note_emptied() -> None:
    global _emptied  # noqa: PLW0603  # one database per process
    _emptied = True


def put_back() -> None:
    """Write the kept rows into the transaction of the test that is about to run."""
    # Some tests are about another database.
    is_ours = connection.settings_dict["NAME"] == _database
    if not (_emptied and is_ours and connection.in_atomic_block):
        return
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for quoted, rows in _rows.items():
            cursor.execute(
                f"INSERT INTO {quoted} OVERRIDING SYSTEM VALUE"
                f" SELECT * FROM json_populate_recordset(NULL::{quoted}, %s) ON CONFLICT DO NOTHING",
                [rows],
            )
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
