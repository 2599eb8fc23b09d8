"""What the audit and the search ask of Django's log: by time, and by the object. By hash, as an id may be of any length."""

from django.db import migrations

FORWARDS = (
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS opsconsole_audit_time_idx ON django_admin_log (action_time, id)",
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS opsconsole_audit_object_idx ON django_admin_log USING hash (object_id)",
)
BACKWARDS = (
    "DROP INDEX CONCURRENTLY IF EXISTS opsconsole_audit_time_idx",
    "DROP INDEX CONCURRENTLY IF EXISTS opsconsole_audit_object_idx",
)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("opsconsole", "0006_roles"), ("admin", "0003_logentry_add_action_flag_choices")]

    operations = [
        migrations.RunSQL(forwards, backwards)
        for forwards, backwards in zip(FORWARDS, BACKWARDS, strict=True)
    ]
