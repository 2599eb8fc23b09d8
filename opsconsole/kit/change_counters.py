"""What PostgreSQL has counted of writes to tables: whether anything changed is known without reading a row."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection
from django.db.models import Model

# The counters of a table and of its partitions. A backend that writes often adds to them every second, any other one
# within ten seconds. A database that counts nothing, or has no such table, gives NULL.
_COUNTERS = """
    SELECT CASE WHEN current_setting('track_counts')::boolean THEN
        sum(pg_stat_get_tuples_inserted(one) + pg_stat_get_tuples_updated(one) + pg_stat_get_tuples_deleted(one))
    END
    FROM (
        SELECT to_regclass(name)::oid AS one FROM unnest(%s::text[]) AS name
        UNION SELECT relid FROM unnest(%s::text[]) AS name, pg_partition_tree(to_regclass(name))
    ) AS tables
"""


def writes_to(models: Iterable[type[Model]]) -> int | None:
    """Return how many rows were ever written in the tables of these models; None where the database does not count.

    Programs of others count as well, and so do writes that were rolled back.
    """
    names = [connection.ops.quote_name(model._meta.db_table) for model in models]  # noqa: SLF001 - Django's own name for it
    with connection.cursor() as cursor:
        cursor.execute(_COUNTERS, [names, names])
        [counted] = cursor.fetchone()
    return None if counted is None else int(counted)
