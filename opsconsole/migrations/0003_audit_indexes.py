"""What the audit and the search ask of Django's log: by time, and by the object. By hash, as an id may be of any length."""

from django.db import migrations

INDEXES = {
    "opsconsole_audit_time_idx": "(action_time, id)",
    "opsconsole_audit_object_idx": "USING hash (object_id)",
}


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("opsconsole", "0002_audit_append_only")]

    operations = [
        migrations.RunSQL(
            # What an earlier try left may be half built.
            [
                f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
                f"CREATE INDEX CONCURRENTLY {name} ON django_admin_log {what}",
            ],
            f"DROP INDEX CONCURRENTLY IF EXISTS {name}",
        )
        for name, what in INDEXES.items()
    ]
