"""The roles viewer, operator and administrator (opsconsole.sign_in.roles)."""

from typing import Any

from django.db import migrations

from opsconsole.sign_in import roles


def grant(apps: Any, schema_editor: Any) -> None:
    roles.grant(apps)


class Migration(migrations.Migration):
    # After all that brings a permission of a role.
    dependencies = [
        ("opsconsole", "0003_audit_indexes"),
        ("jobs", "0006_functions_and_triggers"),
        ("alerts", "0002_rules"),
        ("ratelimits", "0004_presets"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("axes", "0010_accessattemptexpiration"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
