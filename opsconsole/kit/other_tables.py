"""Tables of other programs in this database: where there are some, nothing begins by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps

from opsconsole.kit import attachment, mapping, own_schema
from opsconsole.kit.attachment import Kind

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

MOST_NAMED = 3
# The console's own tables may be beside others' (OPSCONSOLE_SCHEMA=public). Tables of extensions and partitions don't count.
_OTHERS = """
WITH found AS (
    SELECT c.oid, nspname, relname, format('%%I.%%I', nspname, relname) AS name
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p') AND NOT relispartition
       AND nspname NOT IN ('information_schema', %(own)s) AND nspname NOT LIKE 'pg\\_%%'
)
SELECT name FROM found
 WHERE name <> ALL (%(created)s)
   AND (relname <> ALL (%(models)s)
        OR nspname IS DISTINCT FROM (SELECT relnamespace::regnamespace::text FROM pg_class
                                      WHERE oid = to_regclass('django_migrations')))
   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = found.oid AND classid = 'pg_class'::regclass AND deptype = 'e')
 ORDER BY name LIMIT %(most)s
"""


def of_other_programs(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the first tables, quoted with their schemas, that the console did not create. Contract tables may be among them."""
    known = attachment.read(connection) if attachment.is_readable(connection) else []
    created = [record.name for record in known if record.kind == Kind.TABLE]
    with connection.cursor() as cursor:
        cursor.execute(
            _OTHERS,
            {"own": own_schema.name(), "created": created, "models": _own_names(), "most": MOST_NAMED},
        )
        return [name for (name,) in cursor.fetchall()]


def _own_names() -> list[str]:
    contract = {table.sql for table in mapping.current().tables}
    models = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}  # noqa: SLF001 - Django documents it
    return [*sorted(models - contract), "django_migrations", attachment.TABLE]
