"""At install, recovery only observes where other programs have tables: an empty table of theirs is no sign that nobody works."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import migrations

from opsconsole.kit import other_tables

if TYPE_CHECKING:
    from django.apps.registry import Apps
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

WHY = "Attached to a database that other programs use."


def observe(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Take back what 0003 decided by the rows of jobs alone. Where a sweep ever ran, or a person decided, that stands."""
    armed = apps.get_model("jobs", "RecoveryControl").objects.filter(mode="armed", changed_by="console")
    swept = apps.get_model("jobs", "Sweep").objects.exists()
    if not swept and armed.exists() and other_tables.of_other_programs(schema_editor.connection):
        armed.update(mode="observe", reason=WHY)


class Migration(migrations.Migration):
    dependencies = [("jobs", "0020_signs_of_life")]

    operations = [migrations.RunPython(observe, migrations.RunPython.noop)]
