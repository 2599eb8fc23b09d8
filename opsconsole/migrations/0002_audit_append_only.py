"""What people did can't be rewritten."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION opsconsole_audit_append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'django_admin_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER opsconsole_audit_append_only BEFORE UPDATE OR DELETE ON django_admin_log
    FOR EACH ROW EXECUTE FUNCTION opsconsole_audit_append_only();
"""

EDITABLE = """
DROP TRIGGER opsconsole_audit_append_only ON django_admin_log;
DROP FUNCTION opsconsole_audit_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("opsconsole", "0001_console_tables"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]

    operations = [migrations.RunSQL(APPEND_ONLY, EDITABLE)]
